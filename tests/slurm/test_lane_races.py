"""Ends, cancels and restarts of a lane that meet, on a real cluster: what is told is what happened."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed

from pto_dispatch.orders import OpenOrders, identity_of
from pto_dispatch.worker import OrderWorker
from pto_proto.events import TaskFinished
from pto_slurm_lane.ledger import Record


@pytest.fixture
async def lane(slurm_cluster: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    """Not open yet."""
    lane = SlurmLane(slurm_cluster, tmp_path, client_limit_s=5.0)
    yield lane
    await lane.backend.close()


async def test_dispatcher_killed_between_outputs_that_are_stored_and_its_record(lane: SlurmLane) -> None:
    await lane.open()
    stored, known = asyncio.Event(), lane.backend._lane
    assert known is not None

    async def never(_record: Record, end: TaskFinished) -> TaskFinished:
        stored.set()
        await asyncio.Event().wait()
        return end

    known.revise = never
    await lane.start("a", command="echo x > x")
    async with asyncio.timeout(90):
        await stored.wait()
    await lane.kill()
    await lane.restart()
    assert ((await lane.end("a")).outcome, lane.ends("a")[0].files) == ("succeeded", 1)


async def test_job_that_has_the_id_of_one_that_is_to_end_is_not_touched(lane: SlurmLane) -> None:
    order, stranger = await lane.restart_with_a_strangers_job()
    assert await lane.backend.stop(order, "enough")
    await lane.until(lambda: lane.backend._lane is not None and lane.backend._lane.watch.look is not None)
    await asyncio.sleep(0.5)
    assert lane.testbed.client("squeue", "-h", "-j", stranger, "-o", "%T") in ("PENDING", "RUNNING")
    lane.testbed.client("scancel", stranger, lane.jobs(order)[0][0])


async def test_order_that_was_stopped_while_nobody_was_there_is_never_submitted(lane: SlurmLane) -> None:
    await lane.open()
    await lane.kill()
    await lane.restart()
    order = lane.order("a")
    orders = OpenOrders(order.ready.instance)
    orders.open[identity_of(order.run, order.ready)] = order
    orders.stopping[identity_of(order.run, order.ready)] = "enough"

    async def be_current() -> None: ...

    worker = OrderWorker(
        orders, lane.backend, be_current=be_current, report_end=lambda *_: None, say_alive=lambda *_: None
    )
    await worker.adopt(order)
    assert (await lane.end("a")).outcome == "cancelled"
    assert lane.jobs(order) == []


async def test_cancel_that_comes_between_an_end_and_its_telling_changes_nothing(lane: SlurmLane) -> None:
    await lane.open()
    known = lane.backend._lane
    assert known is not None
    async with known.tails._turn:  # the last lines are read before the end is told
        order = await lane.start("a")
        (attempt,) = lane.backend._attempts.values()
        await lane.until(lambda: attempt.record.end is not None)
        assert await lane.backend.stop(order, "enough"), "else a cancel is told before it"
    assert (await lane.end("a")).outcome == "succeeded"
    assert not await lane.backend.stop(order, "enough")


async def test_job_that_ran_while_it_was_given_up_has_its_result(lane: SlurmLane) -> None:
    done = 'until [ "$(squeue -h -t all -j "${@: -1}" -o %T)" = COMPLETED ]; do sleep 0.2; done'
    lane.fake("scancel", f'scontrol release "${{@: -1}}"; {done}; exec "$REAL" "$@"')
    await lane.open()
    order = await lane.start("a", slurm="down", command="echo done")
    await lane.state(order, "PENDING")
    job = lane.jobs(order)[0][0]
    lane.testbed.client("scontrol", "hold", job)
    lane.testbed.client("scontrol", "update", f"job={job}", "partition=compute")
    end = await lane.end("a")
    assert end.outcome == "succeeded", (end, lane.queue())


async def test_stop_that_comes_together_with_the_turn_to_submit_is_heeded(lane: SlurmLane) -> None:
    await lane.open()
    known = lane.backend._lane
    assert known is not None
    await known.gate.enter()
    order = await lane.start("a")
    await lane.until(lambda: bool(known.gate._turn._waiters))
    known.gate.leave()
    assert await lane.backend.stop(order, "enough")
    assert (await lane.end("a")).outcome == "cancelled"
    assert lane.jobs(order) == []
