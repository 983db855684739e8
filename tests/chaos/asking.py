"""A requester that survives everything: asks for runs, and counts what the mirror of the log says about them."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from pto_bus.session import Session, open_session
from pto_client.requester import ask, with_plan
from pto_ports.event_log import LogUnavailable, NotSettled
from pto_proto.ids import RunId
from pto_proto.plans import Plan
from pto_proto.requests import Request, RunRequested

from .sites import PASSWORD, Site


class Requester:
    """One requester's connection."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @classmethod
    async def open(cls, site: Site, user: str = "requester") -> "Requester":
        return cls(await open_session(site.url, user=user, password=PASSWORD))

    async def close(self) -> None:
        await self.session.close()

    async def run(self, run: str, plan: Plan, *, executors: int, **more: Any) -> None:
        """Ask for a run of this plan until the request is stored, however often the broker goes away meanwhile."""
        request = RunRequested(run=RunId(run), name=plan.name, max_executors=executors, **more)
        while True:
            try:
                request = await with_plan(request, plan, self.session.blobs)
                break
            except (LogUnavailable, NotSettled):
                await asyncio.sleep(0.2)
        await self.ask(request)

    async def ask(self, request: Request, request_id: str = "") -> str:
        """Store the request; returns its id."""
        request_id = request_id or secrets.token_hex(8)
        user = self.session.connection.user
        while True:
            try:
                await ask(
                    self.session.queue, request, requester=user, request_id=request_id, now=time.time_ns() // 10**6
                )
            except LogUnavailable:
                await asyncio.sleep(0.2)
            else:
                return request_id


class _Entry(msgspec.Struct, frozen=True):
    task: str = ""
    outcome: str = ""
    status: str = ""
    instance: str = ""
    incarnation: str = ""
    at: int = 0


class _Data(msgspec.Struct, frozen=True):
    entries: tuple[_Entry, ...] = ()
    run: str = ""


class _Wire(msgspec.Struct, frozen=True):
    type: str
    id: str = ""
    data: _Data = _Data()


_decoder = msgspec.json.Decoder(_Wire)


class Epoch(msgspec.Struct, frozen=True):
    """A scheduler began to lead."""

    instance: str
    incarnation: str
    at: int
    """Unix milliseconds, by its own word."""


class Watcher:
    """Reads the mirror all the time: what has ended, who leads."""

    def __init__(self, requester: Requester, check: Callable[[], None] = lambda: None) -> None:
        self.requester = requester
        self.check = check
        """Called while waiting; raises when waiting is pointless."""
        self._task: asyncio.Task[None] | None = None
        self.seq = 0
        self.kinds: Counter[str] = Counter()
        """Kind -> entries."""
        self.succeeded: Counter[str] = Counter()
        """Run -> succeeded attempts of the plan's tasks."""
        self.started: Counter[str] = Counter()
        self.finished: dict[str, str] = {}
        """Run -> status."""
        self.runs: dict[str, set[str]] = {}
        """Run -> kinds of its events so far."""
        self.epochs: list[Epoch] = []

    @property
    def leader(self) -> str:
        return self.epochs[-1].instance if self.epochs else ""

    def begin(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until_finished(self, *runs: str, timeout_s: float = 120.0) -> None:
        """Until all these runs have ended. AssertionError if they do not."""
        await self.wait(lambda: all(run in self.finished for run in runs), timeout_s, f"the end of {', '.join(runs)}")

    async def wait(self, condition, timeout_s: float, what: str) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._task is not None and self._task.done():
                self._task.result()
            self.check()
            assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s ({dict(self.kinds)})"
            await asyncio.sleep(0.05)

    async def _watch(self) -> None:
        while True:
            try:
                reader = await self.requester.session.view.read(after=self.seq)
            except LogUnavailable:
                await asyncio.sleep(0.2)
                continue
            while True:
                for recorded in await reader.next(1.0):
                    self.seq = recorded.seq
                    self._take(recorded.data)

    def _take(self, data: bytes) -> None:
        try:
            wire = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        kind, run = wire.type.split(".")[1], wire.data.run
        self.kinds[kind] += len(wire.data.entries)
        self.runs.setdefault(run, set()).add(kind)
        for entry in wire.data.entries:
            if kind == "TaskFinished" and entry.outcome == "succeeded" and not entry.task.startswith("_"):
                self.succeeded[run] += 1
            elif kind == "TaskStarted" and not entry.task.startswith("_"):
                self.started[run] += 1
            elif kind == "RunFinished":
                self.finished.setdefault(run, entry.status)
            elif kind == "SchedulerEpochStarted":
                self.epochs.append(Epoch(entry.instance, entry.incarnation, entry.at))
