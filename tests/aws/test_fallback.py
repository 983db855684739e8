"""Which tasks go to the on-demand queue: told by lost attempts, however often each is told."""

from pathlib import Path

import pytest

from pto_dispatcher_parallelcluster.fallback import Fallback
from pto_ports.backend import Order
from pto_proto.events import TaskReady
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.plans import SlurmOptions, TaskSpec


@pytest.fixture
def fallback(tmp_path: Path) -> Fallback:
    return Fallback({"spot": "ondemand"}, tmp_path)


def order(attempt: int, queue: str = "spot", round_: int = 0) -> Order:
    spec = TaskSpec(id=TaskId("t"), command="true", slurm=SlurmOptions(partition=queue))
    ready = TaskReady(
        at=1, task=spec.id, attempt=attempt, round=round_, instance=InstanceId("i"), spec=spec, slot=0, sandbox="none"
    )
    return Order(RunId("run-000001"), 7, ready)


def queue_of(fallback: Fallback, queue: str = "spot") -> str:
    return fallback.placed(order(9, queue)).ready.spec.slurm.partition


def test_the_second_loss_moves_the_task(fallback: Fallback) -> None:
    assert fallback.note(order(1)) == ""
    assert queue_of(fallback) == "spot"
    assert fallback.note(order(2)) == "ondemand"
    assert queue_of(fallback) == "ondemand"


def test_a_loss_that_is_told_again_after_a_crash_counts_once(fallback: Fallback, tmp_path: Path) -> None:
    assert [fallback.note(order(1)) for _ in range(3)] == ["", "", ""]
    assert Fallback({"spot": "ondemand"}, tmp_path).note(order(1)) == ""
    assert queue_of(fallback) == "spot"


def test_attempts_of_the_same_number_in_two_rounds_are_two(fallback: Fallback) -> None:
    assert [fallback.note(order(1)), fallback.note(order(1, round_=1))] == ["", "ondemand"]


@pytest.mark.parametrize("queue", ["", "default"])
def test_the_clusters_own_queue_counts_however_it_is_named(fallback: Fallback, queue: str) -> None:
    fallback.default = "spot"
    for attempt in (1, 2):
        fallback.note(order(attempt, queue))
    assert queue_of(fallback, queue) == "ondemand"
