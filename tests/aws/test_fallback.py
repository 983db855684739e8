"""Which tasks have lost too many Spot instances: counted once each, whoever asks again and however often."""

from pathlib import Path

import msgspec
import pytest
from tests.slurm.slurm_lane import a_record

from pto_dispatcher_parallelcluster.fallback import Fallback
from pto_ports.backend import Order
from pto_proto.ids import RunId
from pto_proto.plans import SlurmOptions


def an_order(attempt: int, queue: str = "spot") -> Order:
    ready = a_record(RunId("run-000001")).ready
    spec = msgspec.structs.replace(ready.spec, slurm=SlurmOptions(partition=queue))
    return Order(RunId("run-000001"), 7, msgspec.structs.replace(ready, spec=spec, attempt=attempt))


def test_a_loss_that_is_told_again_after_a_crash_counts_once(tmp_path: Path) -> None:
    assert Fallback({"spot": "ondemand"}, tmp_path).note(an_order(1)) == ""
    fallback = Fallback({"spot": "ondemand"}, tmp_path)
    assert fallback.note(an_order(1)) == ""
    assert fallback.placed(an_order(2)) == an_order(2)
    assert fallback.note(an_order(2)) == "ondemand"
    assert fallback.placed(an_order(3)).ready.spec.slurm.partition == "ondemand"


@pytest.mark.parametrize("queue", ["", "default"])
def test_the_clusters_own_queue_counts_however_it_is_named(tmp_path: Path, queue: str) -> None:
    fallback = Fallback({"spot": "ondemand"}, tmp_path)
    fallback.default = "spot"
    for attempt in (1, 2):
        fallback.note(an_order(attempt, queue))
    assert fallback.placed(an_order(3, queue)).ready.spec.slurm.partition == "ondemand"
