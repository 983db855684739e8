"""H1: `true` on a SLURM test bed, by four pilots and, for comparison, as a job per task.

The lane is measured as a dispatcher drives it, without a log: an order goes in, and a task counts when its end is
reported. Invariant: every task ended well, once, and was done by no more pilots than allowed.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed, is_installed

from pto_ports.backend import Order
from pto_proto import events as ev

from .asking import NotAsExpected
from .meter import Meter, Record
from .options import Options
from .running import fresh_folder
from .warm import described

PILOTS = 4
IN_MEMORY = "pilots, spool in memory"
AT_ONCE = {IN_MEMORY: 64, "pilots": 64, "pilots, one by one": 1, "job per task": 16}
TASKS = {IN_MEMORY: 2_000, "pilots": 2_000, "pilots, one by one": 50, "job per task": 60}
MEMORY = Path("/dev/shm")
"""A spool there shows what the lane itself costs: this machine's disk is no file server."""
LIMIT_S = 120.0
SLOTS = 64
PATIENT = "300"
"""Seconds until the controller gives up a node that does not answer: all of them share this machine's processors."""


class Drive:
    """Keeps so many orders under way and notes when each ended."""

    def __init__(self, lane: SlurmLane) -> None:
        self._lane = lane
        self._began: dict[str, float] = {}
        self._news = asyncio.Event()
        self._bad: ev.TaskFinished | None = None
        self.latencies_s: list[float] = []
        lane.on_report = self._take

    async def run(self, prefix: str, tasks: int, at_once: int) -> None:
        """All of them; raises NotAsExpected when one did not end well."""
        self._began, self.latencies_s = {}, []
        for number in range(tasks):
            while len(self._began) >= at_once:
                await self._one_more()
            name = f"{prefix}{number}"
            self._began[name] = time.perf_counter()
            await self._lane.start(name, slot=number % SLOTS)
            await asyncio.sleep(0)
        while self._began:
            await self._one_more()

    async def _one_more(self) -> None:
        self._news.clear()
        async with asyncio.timeout(LIMIT_S):
            await self._news.wait()
        if self._bad is not None:
            raise NotAsExpected(f"task {self._bad.task}: {self._bad.outcome} {self._bad.reason}")

    def _take(self, order: Order, entry: ev.Entry) -> None:
        if not isinstance(entry, ev.TaskFinished):
            return
        if entry.outcome != "succeeded" or entry.task not in self._began:
            self._bad = entry
            self._news.set()
            return
        self.latencies_s.append(time.perf_counter() - self._began.pop(entry.task))
        self._lane.backend.forget(order)
        self._news.set()


async def tasks(options: Options) -> AsyncIterator[Record]:
    """The records of H1."""
    if not is_installed():
        raise NotAsExpected(
            "SLURM is not installed; as root: deploy/testbed/slurm.sh up && deploy/testbed/slurm.sh down"
        )
    async with fresh_folder() as folder, fresh_folder(MEMORY) as memory:
        testbed = await asyncio.to_thread(SlurmTestbed.start, folder / "c", SLURMDTIMEOUT=PATIENT)
        try:
            for repeat in range(options.repeats):
                for number, variant in enumerate(TASKS):
                    place = memory if variant == IN_MEMORY else folder
                    lane = SlurmLane(testbed, place / f"{repeat}.{number}", pilots=PILOTS * ("pilots" in variant))
                    record = await _measured(lane, variant, options)
                    yield {**record, "rep": repeat}
        finally:
            await asyncio.to_thread(testbed.do, "down")


async def _measured(lane: SlurmLane, variant: str, options: Options) -> Record:
    size = options.size(TASKS[variant])
    await lane.open()
    try:
        drive = Drive(lane)
        await drive.run("warm", PILOTS, PILOTS)
        meter = Meter()
        meter.start()
        await drive.run("t", size, AT_ONCE[variant])
        meter.stop()
    finally:
        await lane.backend.close()
    latencies = sorted(drive.latencies_s)
    return {
        **described("H1", PILOTS, options),
        "variant": variant,
        "durable": "what the shared folder holds",
        **meter.record(size),
        "latency_s": round(statistics.median(latencies), 4),
        "latency_p95_s": round(latencies[int(len(latencies) * 0.95)], 4),
    }
