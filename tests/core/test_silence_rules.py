"""What silence means for an attempt, lane by lane: unknown everywhere, lost only where the rule says so."""

import pytest

from driver import Driver
from pto_core.limits import DOCKER_LOST_S, LOCAL_LOST_S
from pto_core.silence import Heard, judge
from pto_proto import events as ev
from pto_proto.ids import InstanceId, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec

RUN = RunId("run-one")
YEAR_S = 366 * 86_400.0


def waiting_in(lane: str, **request: object) -> Driver:
    """Attempt ``t.1`` (or the one that plans) is out in this lane, at its first instance of two."""
    driver = Driver(Plan(tasks=(TaskSpec(id=TaskId("t"), command="true"),)))
    for number in (1, 2):
        up = ev.DispatcherUp(
            at=driver.now, instance=InstanceId(f"{lane}-{number}"), incarnation="1", capacity=9 - number,
            can_run=("command", "plan"),
        )  # fmt: skip
        driver.write(Lane(lane), None, up)
    driver.start(**request)
    driver.tick()
    if not request.get("planner_backend"):
        driver.act()
        driver.tick()
        driver.tick()
    assert driver.out[0][0] == lane
    return driver


def verdict(driver: Driver, lane: str, silence: float, *alive: str) -> list[str]:
    heard = Heard({(Lane(lane), InstanceId(f"{lane}-1")): silence}, {(Lane(lane), InstanceId(name)) for name in alive})
    return [type(entry).__name__ for _, _, entry in judge(driver.state, heard, driver.now)]


def test_a_local_attempt_is_lost_after_half_a_minute() -> None:
    driver = waiting_in("local")
    assert verdict(driver, "local", LOCAL_LOST_S - 1) == ["AttemptUnknown"]
    assert verdict(driver, "local", LOCAL_LOST_S) == ["AttemptLost"]


def test_a_container_is_lost_after_five_minutes_if_another_instance_can_take_its_place() -> None:
    driver = waiting_in("docker", backend="docker")
    assert verdict(driver, "docker", LOCAL_LOST_S, "docker-2") == ["AttemptUnknown"]
    assert verdict(driver, "docker", DOCKER_LOST_S - 1, "docker-2") == ["AttemptUnknown"]
    assert verdict(driver, "docker", DOCKER_LOST_S, "docker-2") == ["AttemptLost"]


def test_a_container_whose_only_host_is_silent_is_waited_for() -> None:
    driver = waiting_in("docker", backend="docker")
    assert verdict(driver, "docker", YEAR_S) == ["AttemptUnknown"]
    assert verdict(driver, "docker", YEAR_S, "local-1", "docker-1") == ["AttemptUnknown"]


def test_an_instance_that_leaves_takes_nobodys_place() -> None:
    driver = waiting_in("docker", backend="docker")
    draining = ev.DispatcherDraining(at=driver.now, instance=InstanceId("docker-2"), incarnation="1")
    driver.write(Lane("docker"), None, draining)
    assert verdict(driver, "docker", YEAR_S, "docker-2") == ["AttemptUnknown"]


def test_planning_in_a_container_follows_the_rule_of_containers() -> None:
    driver = waiting_in("docker", planner_backend="docker")
    assert driver.out[0][2].task == "_plan"
    assert verdict(driver, "docker", DOCKER_LOST_S - 1, "docker-2") == ["AttemptUnknown"]
    assert verdict(driver, "docker", DOCKER_LOST_S, "docker-2") == ["AttemptLost"]


def test_planning_in_its_own_lane_dies_with_its_planner() -> None:
    driver = Driver(Plan(tasks=(TaskSpec(id=TaskId("t"), command="true"),)))
    driver.start()
    driver.tick()
    assert verdict(driver, "planner", LOCAL_LOST_S) == ["AttemptLost"]


@pytest.mark.parametrize("lane", ["slurm-default", "slurm-hpc1", "parallelcluster-big"])
def test_no_silence_makes_a_clusters_job_lost(lane: str) -> None:
    driver = waiting_in(lane, backend=lane)
    assert verdict(driver, lane, YEAR_S, f"{lane}-2") == ["AttemptUnknown"]
    unknown = ev.AttemptUnknown(at=driver.now, task=TaskId("t"), attempt=1, instance=InstanceId(f"{lane}-1"))
    driver.write(Lane(lane), RUN, unknown)
    assert verdict(driver, lane, YEAR_S, f"{lane}-2") == []
    assert driver.state.runs[RUN].tasks[0].is_open
