"""Scheduler, planner and two dispatchers with fake backends on in-memory twins, in one event loop."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from pto_core.views import RunView
from pto_dispatch.dispatcher import Dispatcher
from pto_memory import (
    MemoryBlobStore,
    MemoryEventLog,
    MemoryLeases,
    MemoryLiveChannel,
    MemorySnapshotStore,
    VirtualClock,
)
from pto_planning.backend import PlannerBackend
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.clock import Clock
from pto_ports.event_log import Fence, NotSettled, Outgoing
from pto_proto import events as ev
from pto_proto.envelope import decode_event, encode_request
from pto_proto.ids import LANE_CONSOLIDATOR, LANE_LOCAL, LANE_PLANNER, InstanceId, Lane, RunId
from pto_proto.requests import Request
from pto_proto.subjects import request_subject, run_filter
from pto_runtime.clock import SystemClock
from pto_scheduler.intake import Intake
from pto_scheduler.scheduler import Scheduler

PATIENCE_S = 10.0


class FakeBackend:
    """Ends every attempt at once, unless its task is in ``held``; remembers what it started."""

    def __init__(self, instance: str, *abilities: str) -> None:
        self.instance = InstanceId(instance)
        self.abilities = abilities
        self.started: list[tuple[str, int]] = []
        self.stopped: list[str] = []
        self.held: set[str] = set()
        self.report: Report | None = None

    def can_run(self) -> tuple[str, ...]:
        return self.abilities

    async def open(self, report: Report, live: LiveLine) -> None:
        self.report = report

    async def start(self, order: Order) -> None:
        ready = order.ready
        self.started.append((ready.task, ready.attempt))
        if ready.task not in self.held:
            self.finish(order)

    def finish(self, order: Order, **fields: Any) -> None:
        assert self.report is not None
        ready = order.ready
        identity = {"at": 1, "cause": order.seq, "task": ready.task, "attempt": ready.attempt, "round": ready.round}
        entries: list[ev.Entry] = [ev.TaskStarted(**identity, instance=self.instance)]
        if ready.task == "_merge":
            entries.append(ev.RunConsolidated(**identity, tree_digest="t", manifest="m", files=0, lines=0))
        fields = {"outcome": "succeeded", **fields}
        self.report(order, *entries, ev.TaskFinished(**identity, instance=self.instance, **fields))

    async def stop(self, order: Order, reason: str) -> bool:
        self.stopped.append(order.ready.task)
        self.finish(order, outcome="cancelled", failure="cancelled", reason=reason)
        return True

    async def sweep(self) -> None:
        pass

    def forget(self, order: Order) -> None:
        pass

    async def adopt(self, order: Order) -> bool:
        return False

    async def close(self) -> None:
        pass


class UnsureLog(MemoryEventLog):
    """Answers every second append with "perhaps", after storing it or without."""

    def __init__(self) -> None:
        super().__init__()
        self._count = itertools.count()

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        number = next(self._count)
        if number % 4 == 1:
            raise NotSettled("no answer, and not stored")
        seq = await super().append(messages, fence)
        if number % 4 == 3:
            raise NotSettled("no answer, but stored")
        return seq


def no_lines(order: Order, stream: str, text: str) -> None:
    pass


class SmallSystem:
    """Everything that a run needs; each service can be started and stopped apart."""

    def __init__(self, log: MemoryEventLog | None = None, clock: VirtualClock | None = None) -> None:
        self.log = log or MemoryEventLog(clock)
        self.requests = MemoryEventLog(clock)
        self.blobs = MemoryBlobStore()
        self.clock: Clock = clock or SystemClock()
        self.leases = MemoryLeases(self.clock)
        self.channel = MemoryLiveChannel()
        self.snapshots: MemorySnapshotStore | None = None
        self.local = FakeBackend("local-1", "noop", "command")
        self.merger = FakeBackend("consolidator-1", "merge")
        self.services: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._names = itertools.count(1)

    def start_scheduler(self, name: str = "scheduler") -> Scheduler:
        incarnation = f"i{next(self._names)}"
        scheduler = Scheduler(
            log=self.log, intake=Intake(self.requests, self.blobs, self.clock), clock=self.clock,
            lease=self.leases.lease(name, incarnation), live=self.channel, snapshots=self.snapshots, blobs=self.blobs,
            instance=InstanceId(name), incarnation=incarnation,
        )  # fmt: skip
        self._start(name, scheduler.run)
        return scheduler

    def start_planner(self, engines: dict[str, Any] | None = None) -> None:
        backend = PlannerBackend(
            log=self.log, blobs=self.blobs, clock=self.clock, instance=InstanceId("planner-1"), engines=engines or {}
        )
        self._start_dispatcher("planner", LANE_PLANNER, "planner-1", backend)

    def start_local(self, backend: FakeBackend | None = None) -> None:
        backend = backend or self.local
        name = "local" if backend is self.local else backend.instance
        self._start_dispatcher(name, LANE_LOCAL, backend.instance, backend)

    def start_all(self) -> Scheduler:
        scheduler = self.start_scheduler()
        self.start_planner()
        self.start_local()
        self._start_dispatcher("consolidator", LANE_CONSOLIDATOR, "consolidator-1", self.merger)
        return scheduler

    def _start_dispatcher(self, name: str, lane: Lane, instance: str, backend: Any) -> None:
        dispatcher = Dispatcher(
            log=self.log, backend=backend, clock=self.clock, live=no_lines, channel=self.channel, lane=lane, instance=InstanceId(instance),
            incarnation=f"i{next(self._names)}", capacity=8,
        )  # fmt: skip
        self._start(name, dispatcher.run)

    def _start(self, name: str, run: Callable[[asyncio.Event], Any]) -> None:
        stop = asyncio.Event()
        self.services[name] = (asyncio.create_task(run(stop)), stop)

    async def kill(self, name: str) -> None:
        """End a service as SIGKILL would: nothing more of it happens."""
        task, _ = self.services.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def stop_all(self) -> None:
        for _, stop in self.services.values():
            stop.set()
        await asyncio.gather(*(task for task, _ in self.services.values()), return_exceptions=True)

    async def ask(self, request: Request, request_id: str = "") -> None:
        request_id = request_id or f"q{next(self._names)}"
        data = encode_request(request_id, "tester", self.clock.now_ms(), request)
        await self.requests.append([Outgoing(request_subject(type(request), "tester"), data, request_id)])

    async def view(self, run: str) -> RunView:
        view = RunView()
        for recorded in await self.log.read_run(run_filter(RunId(run))):
            view.apply(recorded.seq, decode_event(recorded.data))
        return view

    async def until(self, condition: Callable[[RunView], Any], run: str = "run-one") -> RunView:
        """Wait until the run's view is so; a service that failed ends the wait with its error."""
        for _ in range(int(PATIENCE_S / 0.01)):
            for name, (task, _) in self.services.items():
                assert not task.done() or task.exception() is None, (name, task.exception())
            view = await self.view(run)
            if condition(view):
                return view
            await asyncio.sleep(0.01)
        raise AssertionError(
            f"{run} did not get there; its events: {[r.subject for r in await self.log.read_run('>')]}"
        )
