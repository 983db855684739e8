"""Named stories of containers and clusters: what outlives its dispatcher, what vanishes, and what nobody gives up."""

from typing import Any

from pto_core.limits import DOCKER_LOST_S
from pto_proto import events as ev
from pto_proto.envelope import decode_event
from pto_proto.ids import LANE_DOCKER, Lane, RunId, TaskId
from pto_proto.plans import Plan, Resources, SlurmOptions, TaskSpec
from pto_proto.requests import RunRequested

from .places import Places
from .plans import Ask, Behaviour
from .roughness import calm_profile
from .simulation import play
from .stories import Attempt
from .world import World

RUN = RunId("run-001")
CLUSTER = Lane("slurm-hpc")
LONG_S = 20.0
AT = 0.5
"""When somebody goes away, as a part of the rage."""


def world_of(places: Places, *specs: TaskSpec, **fields: object) -> World:
    """One run of tasks that take long, without any fault but those of its places."""
    world = World(1)
    world.profile = calm_profile()
    world.profile.rage_s = 10.0
    world.places = places
    plan = Plan(name="places", tasks=specs or tuple(TaskSpec(id=TaskId(f"t{at}"), command="true") for at in range(4)))
    by = "engine" if "requirement" in fields else "inline"
    request = RunRequested(run=RUN, plan=plan if by == "inline" else None, max_executors=4, **fields)  # type: ignore[arg-type]
    behaviours = {spec.id: Behaviour(duration_s=(LONG_S, LONG_S)) for spec in plan.tasks}
    world.asks = {RUN: Ask(request, plan, 0.5, by, behaviours)}
    return world


def entries(world: World, kind: type[ev.Entry]) -> list[Any]:
    found = [entry for recorded in world.log.store.stored() for entry in decode_event(recorded.data).entries]
    return [entry for entry in found if isinstance(entry, kind)]


def attempts(world: World) -> list[Attempt]:
    """Of the plan's tasks, once every promise was kept and the run succeeded."""
    assert play(world).violations == []
    story = world.judge.runs[RUN]
    assert story.finished is not None
    assert story.finished.status == "succeeded"
    return [attempt for name in story.order for attempt in story.tasks[name].attempts]


def containers(number: int, away_s: float, gone: float = 0.0) -> Places:
    names = [f"docker-{at}" for at in range(1, number + 1)]
    return Places(dict.fromkeys(names, LANE_DOCKER), gone=gone, aways={"docker-1": (AT, away_s)})


def test_containers_are_found_again_when_their_dispatcher_restarts() -> None:
    world = world_of(containers(1, away_s=4.0), backend="docker")
    assert {(attempt.name[3], attempt.outcome) for attempt in attempts(world)} == {(1, "succeeded")}
    found = [entry.detail for entry in entries(world, ev.JobStateChanged)]
    assert "its dispatcher restarted and found it" in found
    assert all(len(starts) == 1 for starts in world.ledger.starts.values())


def test_containers_that_ended_meanwhile_are_reported_when_their_dispatcher_is_back() -> None:
    world = world_of(containers(1, away_s=100.0), backend="docker")
    assert {attempt.name[3] for attempt in attempts(world)} == {1}
    assert entries(world, ev.AttemptUnknown)
    assert not entries(world, ev.AttemptLost)


def test_a_container_that_is_gone_is_run_again_and_burns_nothing() -> None:
    world = world_of(containers(1, away_s=4.0, gone=1.0), backend="docker", max_retries=0)
    found = attempts(world)
    lost = [attempt for attempt in found if attempt.outcome == "failed"]
    assert lost
    assert {attempt.failure for attempt in lost} == {"infra"}
    assert sum(attempt.outcome == "succeeded" for attempt in found) == 4


def test_containers_of_a_host_that_stays_away_are_run_by_another_one() -> None:
    world = world_of(containers(2, away_s=DOCKER_LOST_S + 200.0), backend="docker")
    found = attempts(world)
    lost = [attempt for attempt in found if attempt.outcome == "lost"]
    assert lost
    assert {attempt.instance for attempt in lost} == {"docker-1"}
    assert {attempt.instance for attempt in found if attempt.name[3] > 1} == {"docker-2"}
    at = min(entry.at for entry in entries(world, ev.AttemptLost))
    assert at - min(entry.at for entry in entries(world, ev.AttemptUnknown)) > (DOCKER_LOST_S - 15) * 1000


def test_nobody_gives_up_the_jobs_of_a_cluster_that_is_silent_for_long() -> None:
    places = Places({f"{CLUSTER}-1": CLUSTER}, requeues=1.0, aways={f"{CLUSTER}-1": (AT, 3_000.0)})
    world = world_of(places, backend=CLUSTER)
    assert {(attempt.name[3], attempt.outcome) for attempt in attempts(world)} == {(1, "succeeded")}
    assert entries(world, ev.AttemptUnknown)
    assert not entries(world, ev.AttemptLost)
    assert all(len(starts) == 1 for starts in world.ledger.starts.values())


def test_a_job_that_begins_once_more_is_the_same_attempt() -> None:
    world = world_of(Places({f"{CLUSTER}-1": CLUSTER}, requeues=1.0), backend=CLUSTER)
    assert {attempt.name[3] for attempt in attempts(world)} == {1}
    assert "REQUEUED" in [entry.state for entry in entries(world, ev.JobStateChanged)]
    started = [entry.task for entry in entries(world, ev.TaskStarted)]
    assert started.count(TaskId("t0")) > 1


def test_one_plan_over_three_lanes_planned_in_a_container() -> None:
    places = Places({"docker-1": LANE_DOCKER, f"{CLUSTER}-1": CLUSTER})
    specs = (
        TaskSpec(id=TaskId("local"), command="true", backend="local"),
        TaskSpec(id=TaskId("boxed"), command="true", depends_on=(TaskId("local"),)),
        TaskSpec(
            id=TaskId("job"), command="true", backend=CLUSTER, depends_on=(TaskId("boxed"),),
            resources=Resources(memory="2G"), slurm=SlurmOptions(partition="big"),
        ),
        TaskSpec(id=TaskId("end"), command="true", backend="local", depends_on=(TaskId("job"),)),
    )  # fmt: skip
    world = world_of(
        places, *specs, requirement=f"plan of {RUN}", backend="docker", planner_backend="docker",
        resources=Resources(cpus=2),
    )  # fmt: skip
    found = attempts(world)
    assert [attempt.lane for attempt in found] == ["local", "docker", CLUSTER, "local"]
    assert world.judge.attempts[RUN, TaskId("_plan"), 0, 1].lane == "docker"
    given = {entry.task: entry.spec.resources for entry in entries(world, ev.TaskReady)}
    assert given[TaskId("boxed")] == Resources(cpus=2)
    assert given[TaskId("job")] == Resources(memory="2G")
