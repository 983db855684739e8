"""Tasks that name no queue fall back, too, though SLURM was away when the dispatcher began."""

from pathlib import Path
from typing import Any, cast

from tests.slurm.slurm_lane import a_record

from pto_dispatcher_parallelcluster.backend import ParallelClusterBackend
from pto_dispatcher_parallelcluster.fallback import Fallback
from pto_dispatcher_parallelcluster.mirror import Mirror
from pto_dispatcher_parallelcluster.shelf import Shelf
from pto_memory import MemoryBlobStore
from pto_ports.backend import Order
from pto_proto.ids import RunId
from pto_runtime.clock import SystemClock
from pto_s3 import Bucket, Pool
from pto_slurm_lane.clients import SlurmClients

RUN = RunId("run-000001")


class RecordingSlurm:
    """Keeps what it is asked to start."""

    def __init__(self) -> None:
        self.started: list[Order] = []

    async def open(self, *_: object) -> None:
        pass

    async def close(self) -> None:
        pass

    async def start(self, order: Order) -> None:
        self.started.append(order)


async def test_the_default_queue_is_asked_for_until_it_is_known(bucket: Bucket, pool: Pool, tmp_path: Path) -> None:
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\nexit 1\n")
    sinfo.chmod(0o755)
    order = Order(RUN, 7, a_record(RUN).ready)
    assert order.ready.spec.slurm.partition == ""
    slurm, shelf = RecordingSlurm(), Shelf(tmp_path / "shelf")
    fallback = Fallback({"spot": "ondemand"}, shelf.root)
    backend = ParallelClusterBackend(
        lambda _: cast("Any", slurm),
        clients=SlurmClients({"PATH": f"{tmp_path}:/usr/bin:/bin"}),
        shelf=shelf,
        mirror=Mirror(shelf, bucket, pool, SystemClock(), MemoryBlobStore(), lambda run: tmp_path / "work" / run),
        fallback=fallback,
        capacity_retry_s=1.0,
    )
    await backend.open(lambda *_: None, lambda *_: None)
    try:
        await backend.start(order)
        assert fallback.default == ""
        sinfo.write_text("#!/bin/sh\necho 'spot*|up|infinite|4|8000|2|idle|(null)|(null)'\n")
        await backend.start(order)
    finally:
        await backend.close()
    assert fallback.default == "spot"
    assert len(slurm.started) == 2
