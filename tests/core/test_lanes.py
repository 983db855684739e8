"""Where tasks run: lanes by the names that people write, and what a task gets there."""

import pytest

from driver import Driver
from pto_core.keys import key_parts
from pto_core.lanes import placed
from pto_core.reuse import differences
from pto_core.state import Run
from pto_proto import events as ev
from pto_proto.ids import NO_DIGEST, Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import DockerOptions, Plan, Resources, SlurmOptions, TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.reuse import Reusable

RUN = RunId("run-one")
DOCKER = DockerOptions(image="tools:1", network="none")


def spec(id_: str = "t", **fields: object) -> TaskSpec:
    return TaskSpec(id=TaskId(id_), command="true", **fields)  # type: ignore[arg-type]


def up(driver: Driver, lane: str, *abilities: str, capacity: int = 100) -> None:
    entry = ev.DispatcherUp(
        at=driver.now, instance=InstanceId(f"{lane}-1"), incarnation="1", capacity=capacity, can_run=abilities
    )
    driver.write(Lane(lane), None, entry)


def handed_out(driver: Driver) -> dict[str, tuple[Lane, ev.TaskReady]]:
    return {ready.task: (lane, ready) for lane, _, ready in driver.out}


def started(*tasks: TaskSpec, **request: object) -> dict[str, tuple[Lane, ev.TaskReady]]:
    """What is handed out first of a plan of these tasks."""
    driver = Driver(Plan(tasks=tasks))
    for lane in ("docker", "slurm-default", "slurm-hpc1"):
        up(driver, lane, "command", "plan")
    driver.start(**request)
    driver.tick()
    plan = handed_out(driver)
    driver.act()
    driver.tick()
    driver.tick()
    return plan | handed_out(driver)


def test_a_short_word_means_the_default_lane_of_its_backend() -> None:
    out = started(spec("a", backend="slurm"), spec("b", backend="slurm-hpc1"), spec("c"), backend="docker")
    assert {name: lane for name, (lane, _) in out.items()} == {
        "_plan": "planner", "a": "slurm-default", "b": "slurm-hpc1", "c": "docker",
    }  # fmt: skip


def test_planning_in_docker_moves_the_plan_and_nothing_else() -> None:
    out = started(spec("a"), planner_backend="docker", docker=DOCKER)
    lane, ready = out["_plan"]
    assert (lane, ready.instance, ready.docker) == ("docker", "docker-1", DOCKER)
    assert out["a"][0] == "local"
    assert out["a"][1].docker == DockerOptions()


def test_an_edited_plan_is_written_down_by_the_planner_wherever_plans_are_made() -> None:
    request = RunRequested(run=RUN, planner_backend="docker")
    run = Run(RUN, request, seq=1, at=1, content_digest=NO_DIGEST)
    lanes = {name: run.lane_of(task) for name, task in run.system.items()}
    assert lanes == {"_plan": "docker", "_merge": "consolidator"}


RESOURCES = Resources(cpus=4, memory="16G", time="02:00:00")
SLURM = SlurmOptions(partition="compute", account="lab")


@pytest.mark.parametrize(
    ("task", "resources", "slurm"),
    [
        (spec(), RESOURCES, SLURM),
        (spec(backend="slurm-default"), RESOURCES, SLURM),
        (
            spec(resources=Resources(cpus=1, time="60")),
            Resources(cpus=1, memory="16G", time="60"),
            SLURM,
        ),
        (
            spec(slurm=SlurmOptions(partition="big", qos="q")),
            RESOURCES,
            SlurmOptions(partition="big", account="lab", qos="q"),
        ),
        (
            spec(resources=Resources(gpus=2)),
            Resources(cpus=4, memory="16G", gpus=2, time="02:00:00"),
            SlurmOptions(partition="gpu", account="lab"),
        ),
        (
            spec(resources=Resources(gpus=2), slurm=SlurmOptions(partition="big")),
            Resources(cpus=4, memory="16G", gpus=2, time="02:00:00"),
            SlurmOptions(partition="big", account="lab"),
        ),
        (spec(backend="slurm-hpc1"), Resources(), SlurmOptions()),
        (spec(backend="local"), Resources(), SlurmOptions()),
    ],
)
def test_the_runs_values_fill_what_the_plan_leaves_open(
    task: TaskSpec, resources: Resources, slurm: SlurmOptions
) -> None:
    out = started(task, backend="slurm", resources=RESOURCES, slurm=SLURM, gpu_partition="gpu")
    ready = out["t"][1]
    assert (ready.spec.resources, ready.spec.slurm) == (resources, slurm)
    assert out["_plan"][1].spec.resources == Resources()


def test_gpus_of_the_run_go_to_its_gpu_partition() -> None:
    out = started(spec(), backend="slurm", resources=Resources(gpus=1), slurm=SLURM, gpu_partition="gpu")
    assert out["t"][1].spec.slurm.partition == "gpu"


def test_without_values_of_the_run_the_task_is_handed_out_as_it_stands() -> None:
    task = spec(resources=Resources(cpus=2))
    assert placed(RunRequested(run=RUN), task) is task
    assert placed(RunRequested(run=RUN, resources=Resources(cpus=3)), task) is task
    assert placed(RunRequested(run=RUN, slurm=SLURM), spec(backend="docker")) == spec(backend="docker")


def parts(task: TaskSpec, **request: object) -> dict[str, Digest]:
    run = Run(RUN, RunRequested(run=RUN, **request), seq=1, at=1, content_digest=NO_DIGEST)  # type: ignore[arg-type]
    return key_parts(run, task, {}, NO_DIGEST)


def test_what_a_task_gets_is_part_of_its_key_whoever_says_so() -> None:
    assert parts(spec(), resources=Resources(cpus=4)) == parts(spec(resources=Resources(cpus=4)))
    assert parts(spec(), resources=Resources(cpus=4)) != parts(spec())
    assert parts(spec(), resources=Resources(memory="4G", time="60")) == parts(spec())
    assert parts(spec(backend="slurm")) == parts(spec(), backend="slurm-default")
    assert parts(spec(backend="docker"), resources=Resources(cpus=4)) == parts(spec(), backend="docker")


def test_the_image_is_part_of_the_key_in_containers_only() -> None:
    assert parts(spec(), docker=DOCKER) == parts(spec())
    assert parts(spec(), backend="docker", docker=DOCKER) != parts(spec(), backend="docker")
    assert parts(spec(backend="docker"), docker=DOCKER) == parts(spec(), backend="docker", docker=DOCKER)
    assert parts(spec(), backend="docker", docker=DockerOptions(network="none")) == parts(spec(), backend="docker")


def test_what_changed_is_said_in_words() -> None:
    then = {name: digest[:16] for name, digest in parts(spec(), backend="docker").items()}
    now = parts(spec(), backend="docker", docker=DOCKER, resources=Resources(gpus=1))
    earlier = Reusable(key=Digest("k"), run=RUN, task=TaskId("t"), parts=then)
    assert differences(now, earlier) == [
        "the image of its container changed",
        "the number of its CPUs or GPUs changed",
    ]


KEY_PARTS_THEN = {
    "harness version": "cc11310c456c3690",
    "backend": "ea17e25c6c7aa6ef",
    "command": "18d10c7d2b4b04aa",
    "outputs": "8d79cf00c75f03fb",
    "resources": "c37273e587168bc6",
    "id": "8ca5d81566f88bad",
}
"""Taken from version 0.1.0."""


def test_a_local_task_has_the_key_that_it_always_had() -> None:
    found = parts(spec(resources=Resources(cpus=2, memory="1G"), outputs=("o",)))
    assert {name: digest[:16] for name, digest in found.items()} == KEY_PARTS_THEN
