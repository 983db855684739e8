"""The SLURM backend on a test bed, without a log: orders go in, what it reports is kept."""

import asyncio
import itertools
import json
import os
import stat
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.slurm.testbed import SlurmTestbed

from pto_memory import MemoryBlobStore
from pto_ports.backend import Order
from pto_proto import events as ev
from pto_proto.ids import InstanceId, RunId, TaskId, external_name
from pto_proto.plans import Resources, SlurmOptions, TaskSpec
from pto_runtime.clock import SystemClock
from pto_slurm.identity import attempt_of
from pto_slurm.shape import Site
from pto_slurm_lane.backend import SlurmBackend
from pto_slurm_lane.lane import LaneSettings
from pto_slurm_lane.ledger import Record

POLL_S = 0.5
SITE = Site(memory="100M", time="00:05:00")
_runs = itertools.count(os.getpid() % 10_000 * 1000)


def a_record(run: RunId, task: str = "a") -> Record:
    """What is known of an attempt that nothing has happened to."""
    spec = TaskSpec(id=TaskId(task), command="true")
    ready = ev.TaskReady(at=1, task=TaskId(task), attempt=1, instance=InstanceId("slurm-1"), spec=spec)
    return Record(run=run, seq=7, ready=ready, name=external_name(run, TaskId(task), 1, 0))


class SlurmLane:
    """One dispatcher's backend; ``restart`` begins the next incarnation on the same folder."""

    def __init__(self, testbed: SlurmTestbed, folder: Path, **settings: Any) -> None:
        self.testbed = testbed
        self.folder = folder
        self.run = RunId(f"run-{next(_runs):08d}")
        self.blobs = MemoryBlobStore()
        self.said: dict[tuple[str, int], list[ev.Entry]] = defaultdict(list)
        self.lines: list[tuple[str, str]] = []
        self.on_report: Callable[[Order, ev.Entry], None] = lambda _order, _entry: None
        self.orders: dict[tuple[str, int], Order] = {}
        self._settings = {"site": SITE, "poll_s": POLL_S, "rate": 100.0, "burst": 100, **settings}
        self.environment = dict(testbed.environment)
        self._slots = itertools.count()
        self.capacity = 64
        self.backend = self._make()

    def _make(self) -> SlurmBackend:
        settings = LaneSettings(spool=self.folder / "spool", agent_python=os.sys.executable, **self._settings)  # type: ignore[attr-defined]
        return SlurmBackend(
            blobs=self.blobs,
            clock=SystemClock(),
            instance=InstanceId("slurm-1"),
            capacity=self.capacity,
            settings=settings,
            work_folder=lambda run: self.folder / "out" / run,
            engines=("simulated",),
            host_environment=self.environment,
        )

    @property
    def away(self) -> bool:
        """Whether it has found out that SLURM does not answer."""
        lane = self.backend._lane
        return lane is not None and lane.watch.away_since_s is not None

    async def open(self) -> "SlurmLane":
        await self.backend.open(self._report, self._line)
        return self

    async def kill(self) -> None:
        """Nothing more of this incarnation happens."""
        await self.backend.close()

    async def restart(self, *, adopt: bool = True) -> None:
        """A new incarnation that adopts every order whose end was not seen."""
        self.backend = self._make()
        await self.open()
        for key, order in self.orders.items() if adopt else ():
            if self.ends(*key) == []:
                assert await self.backend.adopt(order)

    async def restart_with_a_strangers_job(self, *, adopt: bool = True) -> tuple[Order, str]:
        """As on a cluster that was made anew and counts from one again: the record of a running order names a job of
        somebody else. Returns (the order, that job).
        """
        await self.open()
        order = await self.start("a", command="sleep 300")
        await self.state(order, "RUNNING")
        stranger = self.testbed.client("sbatch", "--parsable", "--mem=100M", "-o", "/dev/null", "--wrap", "sleep 300")
        await self.kill()
        (path,) = self.folder.glob("spool/ledger/attempts/*.json")
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "job": stranger}))
        await self.restart(adopt=adopt)
        return order, stranger

    def order(self, task: str, attempt: int = 1, **fields: Any) -> Order:
        """What the scheduler would hand out; ``slot`` is a new one unless given."""
        own = {name: fields.pop(name) for name in ("slot", "trees", "engine", "avoid") if name in fields}
        fields.setdefault("command", "true")
        if isinstance(fields.get("slurm"), str):
            fields["slurm"] = SlurmOptions(partition=fields["slurm"])
        if isinstance(fields.get("resources"), dict):
            fields["resources"] = Resources(**fields["resources"])
        if "agent" in fields:
            fields.pop("command")
        spec = TaskSpec(id=TaskId(task), **fields)
        own = {"slot": next(self._slots), "sandbox": "none", **own}
        ready = ev.TaskReady(at=1, task=TaskId(task), attempt=attempt, instance=InstanceId("slurm-1"), spec=spec, **own)
        order = self.orders[task, attempt] = Order(self.run, 7, ready)
        return order

    async def start(self, task: str, attempt: int = 1, **fields: Any) -> Order:
        order = self.order(task, attempt, **fields)
        await self.backend.start(order)
        return order

    async def run_task(self, task: str, attempt: int = 1, seconds: float = 90, **fields: Any) -> ev.TaskFinished:
        await self.start(task, attempt, **fields)
        return await self.end(task, attempt, seconds=seconds)

    async def end(self, task: str, attempt: int = 1, seconds: float = 90) -> ev.TaskFinished:
        await self.until(lambda: bool(self.ends(task, attempt)), seconds)
        return self.ends(task, attempt)[0]

    def ends(self, task: str, attempt: int = 1) -> list[ev.TaskFinished]:
        return [entry for entry in self.said[task, attempt] if isinstance(entry, ev.TaskFinished)]

    def kinds(self, task: str, attempt: int = 1) -> list[str]:
        return [type(entry).__name__ for entry in self.said[task, attempt]]

    def states(self, task: str, attempt: int = 1) -> list[str]:
        return [entry.state for entry in self.said[task, attempt] if isinstance(entry, ev.JobStateChanged)]

    async def until(self, holds: Callable[[], bool], seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, f"did not come true; said: {dict(self.said)}; {self.queue()}"
            await asyncio.sleep(0.05)

    async def state(self, order: Order, *states: str, seconds: float = 60) -> str:
        """Wait until its job is in one of these states of SLURM."""
        await self.until(lambda: any(state in states for _, state in self.jobs(order)), seconds)
        return self.jobs(order)[0][0]

    def jobs(self, order: Order) -> list[tuple[str, str]]:
        """(id, state) of all jobs of the order that SLURM knows."""
        name = external_name(order.run, order.ready.task, order.ready.attempt, order.ready.round)
        rows = self.testbed.client("squeue", "-h", "-a", "-t", "all", "-O", "JobID:|,State:|,Name:64").splitlines()
        split = [line.split("|") for line in rows]
        return [(row[0].strip(), row[1].strip()) for row in split if row[2].startswith(name)]

    def executor(self, task: str) -> int:
        """The process of the executor that does the task."""
        name = attempt_of(self.run, self.orders[task, 1].ready).name
        found = subprocess.run(
            ["pgrep", "-f", f"executor-.* run .*/attempts/{name}"], capture_output=True, text=True, check=False
        ).stdout.split()
        assert len(found) == 1, (name, found)
        return int(found[0])

    def queue(self) -> str:
        return self.testbed.client("squeue", "-a", "-t", "all", "-O", "JobID,State,Reason,Name:40,exit_code,RestartCnt")

    def forget(self, task: str, attempt: int = 1) -> None:
        self.backend.forget(self.orders[task, attempt])

    def fake(self, program: str, text: str) -> Path:
        """Put a program of this name before SLURM's on the path of the next incarnation; ``$REAL`` is SLURM's."""
        real = next(
            str(Path(folder) / program)
            for folder in ("/usr/bin", "/usr/local/bin")
            if (Path(folder) / program).exists()
        )
        place = self.folder / "bin"
        place.mkdir(exist_ok=True)
        path = place / program
        path.write_text(f"#!/bin/bash\nREAL={real}\nHERE={place}\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        if str(place) not in self.environment["PATH"].split(":"):
            self.environment["PATH"] = f"{place}:{self.environment['PATH']}"
        self.backend = self._make()
        return path

    def _report(self, order: Order, *entries: ev.Entry) -> None:
        for entry in entries:
            msgspec.json.encode(entry)
        self.said[order.ready.task, order.ready.attempt] += entries
        for entry in entries:
            self.on_report(order, entry)

    def _line(self, order: Order, stream: str, text: str) -> None:
        self.lines.append((order.ready.task, text))
