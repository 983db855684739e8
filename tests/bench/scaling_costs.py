"""What one event costs each service, measured in this process: CPU time of the pure parts, bytes, memory.

Every cost is a straight line through two batch sizes: so much for a batch, so much more for each task in it. The best of
a few tries counts, because disturbances only ever add.
"""

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from pto_core.coalesce import Message, coalesce
from pto_core.decide import Decision, decide
from pto_core.fold import evolve
from pto_core.own_events import OwnEvents
from pto_core.state import State
from pto_dispatch.dispatcher import Dispatcher
from pto_dispatch.orders import OpenOrders
from pto_dispatcher_local.backend import LocalBackend
from pto_memory import MemoryBlobStore, MemoryEventLog, MemoryLiveChannel
from pto_ports.event_log import Fence, Outgoing
from pto_proto import events as ev
from pto_proto.envelope import MAX_ENTRIES, decode_event
from pto_proto.ids import LANE_LOCAL, LANE_PLANNER, PLAN_TASK, Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested
from pto_runtime.clock import SystemClock
from pto_runtime.gc_pause import gc_paused

TRIES = 3
RUN = RunId("run-scaling")
HOST = InstanceId("local-1")
AT = 1_700_000_000_000
PLAN = Digest("d" * 64)
TICKS = 40
SMALL, LARGE = 10, MAX_ENTRIES
"""Tasks per tick between which the line is drawn."""
MANY_OPEN = 10_000
"""Attempts out, to see what those that do nothing cost."""
FEW_OPEN = 100
KEPT = 20_000
"""Tasks of the run whose memory is measured."""


class Line(NamedTuple):
    """A cost in microseconds of CPU: for a batch, and for each item in it."""

    batch_us: float
    item_us: float

    def of(self, items: float, batches: float = 1) -> float:
        return self.batch_us * batches + self.item_us * items


class Stages(NamedTuple):
    """Microseconds per task that the scheduler spends, at 100 tasks per tick."""

    decode: float
    fold: float
    decide: float
    encode: float


class Pure(NamedTuple):
    """Costs without any broker."""

    scheduler: Line
    """A tick, and each task in it: fold its start and its end, decide, encode, fold its order read back."""
    open_us: float
    """Per tick and attempt that is out, whether or not anything happens to it."""
    stages: Stages
    dispatcher: Line
    """A batch of orders, and each order in it: read it, report start and end, read both back."""
    foreign: Line
    """A batch of another instance's orders in the same lane, and each in it: read, and not one's own."""
    task_bytes: float
    """Of the log per task, 100 tasks to an event."""
    single_bytes: float
    """The same with one task per event."""
    memory_bytes: float
    """That the scheduler keeps per finished task of an open run."""


def measure() -> Pure:
    """All of it; takes a few seconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    small, _ = _best(lambda: _scheduler(SMALL, FEW_OPEN))
    large, stages = _best(lambda: _scheduler(LARGE, FEW_OPEN))
    crowded, _ = _best(lambda: _scheduler(SMALL, MANY_OPEN))
    own = [min(asyncio.run(_dispatcher(size)) for _ in range(TRIES)) for size in (SMALL, LARGE)]
    foreign = [min(_foreign(size) for _ in range(TRIES)) for size in (SMALL, LARGE)]
    return Pure(
        scheduler=line(small, large), open_us=max(0.0, crowded - small) / (MANY_OPEN - FEW_OPEN), stages=stages,
        dispatcher=line(*own), foreign=line(*foreign), task_bytes=_bytes(LARGE), single_bytes=_bytes(1),
        memory_bytes=_memory(),
    )  # fmt: skip


def line(small: float, large: float) -> Line:
    """Through the costs of a small and of a large batch."""
    item = (large - small) / (LARGE - SMALL)
    return Line(max(0.0, small - item * SMALL), item)


def _best(measured: Callable[[], tuple[float, Stages]]) -> tuple[float, Stages]:
    return min((measured() for _ in range(TRIES)), key=lambda found: found[0])


# --- the scheduler ---------------------------------------------------------------------------------------------------


def _specs(count: int) -> tuple[TaskSpec, ...]:
    return tuple(TaskSpec(id=TaskId(f"task-{at:06d}"), title=f"Task number {at}", noop=True) for at in range(count))


class Rig:
    """The scheduler's state with one run of a bag of tasks, and the clock of each stage."""

    def __init__(self, tasks: int, executors: int) -> None:
        self.state = State()
        self._own = OwnEvents()
        self.spent = dict.fromkeys(Stages._fields, 0.0)
        specs = _specs(tasks)
        request = RunRequested(run=RUN, name="scaling", max_executors=executors)
        plan = {"at": AT, "task": PLAN_TASK, "attempt": 1, "instance": InstanceId("planner-1")}
        up = ev.DispatcherUp(at=AT, instance=HOST, incarnation="1", capacity=executors, can_run=("noop",))
        story: list[tuple[Lane | None, RunId | None, ev.Entry]] = [
            (LANE_LOCAL, None, up),
            (None, RUN, ev.RunAccepted(at=AT, content_digest=Digest("c"), request=request)),
            (LANE_PLANNER, RUN, ev.TaskReady(**plan, spec=TaskSpec(id=PLAN_TASK))),
            *(
                (LANE_PLANNER, RUN, ev.TaskPlanned(at=AT, plan_digest=PLAN, part=part, parts=-(-tasks // 500), tasks=some))
                for part, some in enumerate(specs[at : at + 500] for at in range(0, tasks, 500))
            ),
            (LANE_PLANNER, RUN, ev.PlanFinished(
                at=AT, task=PLAN_TASK, attempt=1, plan_digest=PLAN, name="s", parts=-(-tasks // 500), task_count=tasks
            )),
            (LANE_PLANNER, RUN, ev.TaskFinished(**plan, outcome="succeeded")),
            (None, RUN, ev.PlanSettled(at=AT, plan_digest=PLAN)),
        ]  # fmt: skip
        for entry in story:
            self.read(coalesce([Decision(*entry)], prefix="1", source="bench"))

    def read(self, messages: Sequence[Message]) -> None:
        """Decode and fold, as the scheduler does with all that it reads."""
        began = time.process_time()
        events = [self._own.read(message.data) for message in messages]
        between = time.process_time()
        for event in events:
            evolve(self.state, self.state.seq + 1, event)
        self.spent["decode"] += between - began
        self.spent["fold"] += time.process_time() - between

    def hand_out(self) -> list[ev.TaskReady]:
        """One tick: decide, encode, read back; returns the orders."""
        began = time.process_time()
        decisions = decide(self.state, AT)
        self.state.touched.clear()
        between = time.process_time()
        messages = coalesce(decisions, prefix="1.1", source="scheduler/scheduler")
        self.spent["decide"] += between - began
        self._own.wrote(messages)
        self.spent["encode"] += time.process_time() - between
        self.read(messages)
        return [entry for _, _, entry in decisions if isinstance(entry, ev.TaskReady)]

    def hand_out_all(self) -> list[ev.TaskReady]:
        """As many ticks as it takes until nothing more fits."""
        found: list[ev.TaskReady] = []
        while more := self.hand_out():
            found += more
        return found


def reports(orders: Sequence[ev.TaskReady]) -> list[Message]:
    """What a dispatcher writes about orders that it carried out."""
    return coalesce(_reports(orders), prefix="inc.1", source="dispatcher/local/local-1")


def _reports(orders: Sequence[ev.TaskReady]) -> Iterator[Decision]:
    for ready in orders:
        who = {
            "at": AT, "cause": 17, "task": ready.task, "attempt": ready.attempt, "round": ready.round, "instance": HOST,
        }  # fmt: skip
        yield Decision(LANE_LOCAL, RUN, ev.TaskStarted(**who))
        yield Decision(LANE_LOCAL, RUN, ev.TaskFinished(**who, outcome="succeeded", duration_s=0.25))


def _scheduler(per_tick: int, is_out: int) -> tuple[float, Stages]:
    """(microseconds per tick, per task and stage): in every tick so many tasks end and as many start."""
    rig = Rig(is_out + per_tick * (TICKS + 2), is_out)
    out = rig.hand_out_all()
    rig.spent = dict.fromkeys(Stages._fields, 0.0)
    gc.collect()
    with gc_paused():
        for _ in range(TICKS):
            ended, out = out[:per_tick], out[per_tick:]
            messages = reports(ended)
            rig.read(messages)
            out += rig.hand_out()
    total = sum(rig.spent.values()) / TICKS * 1e6
    return total, Stages(*(rig.spent[stage] / TICKS / per_tick * 1e6 for stage in Stages._fields))


# --- the dispatcher --------------------------------------------------------------------------------------------------


def _batches(size: int) -> list[Message]:
    """One event of so many orders for ``HOST`` per tick."""
    rig = Rig(size * TICKS, size * TICKS)
    ready = rig.hand_out_all()
    return [
        message
        for tick in range(TICKS)
        for message in coalesce(
            [Decision(LANE_LOCAL, RUN, entry) for entry in ready[tick * size : (tick + 1) * size]],
            prefix=f"1.{tick + 1}", source="s",
        )
    ]  # fmt: skip


class _Log(MemoryEventLog):
    """Says when so many ends were written."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = 0
        self.has_more = asyncio.Event()

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        seq = await super().append(messages, fence)
        self.ends += sum(message.data.count(b'"outcome":') for message in messages)
        self.has_more.set()
        return seq


async def _dispatcher(size: int) -> float:
    """Microseconds per batch of orders of the real dispatcher with its real backend, over a log in memory."""
    log, clock, done = _Log(), SystemClock(), asyncio.Event()
    backend = LocalBackend(
        blobs=MemoryBlobStore(), cache=Path(), clock=clock, instance=HOST, work_folder=lambda run: Path(run),
        engines={}, capacity=1, host_environment={},
    )  # fmt: skip
    dispatcher = Dispatcher(
        log=log, backend=backend, clock=clock, live=lambda *_: None, channel=MemoryLiveChannel(), lane=LANE_LOCAL,
        instance=HOST, incarnation="i1", capacity=size,
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stop, on_up=done.set))
    await done.wait()
    batches = _batches(size)
    gc.collect()
    with gc_paused():
        began = time.process_time()
        for number, message in enumerate(batches, 1):
            await log.append([Outgoing(message.subject, message.data, message.wire_id)])
            while log.ends < size * number:
                log.has_more.clear()
                await log.has_more.wait()
        spent = time.process_time() - began
    stop.set()
    await running
    return spent / TICKS * 1e6


def _foreign(size: int) -> float:
    """Microseconds per batch of another instance's orders: read with the reports about them."""
    batches = [(message, reports(message.event.entries)) for message in _batches(size)]
    known = OpenOrders(InstanceId("other"))
    gc.collect()
    with gc_paused():
        began = time.process_time()
        for seq, (order, told) in enumerate(batches):
            for message in (order, *told):
                known.apply(seq, decode_event(message.data))
        return (time.process_time() - began) / TICKS * 1e6


# --- bytes and memory ------------------------------------------------------------------------------------------------


def _bytes(per_event: int) -> float:
    rig = Rig(per_event, per_event)
    ready = rig.hand_out()
    orders = coalesce([Decision(LANE_LOCAL, RUN, entry) for entry in ready], prefix="1.1", source="scheduler/scheduler")
    return sum(len(message.data) for message in [*orders, *reports(ready)]) / per_event


def _memory() -> float:
    tracemalloc.start()
    try:
        empty = tracemalloc.get_traced_memory()[0]
        rig = Rig(KEPT, KEPT)
        while ready := rig.hand_out():
            rig.read(reports(ready))
        return (tracemalloc.get_traced_memory()[0] - empty) / KEPT
    finally:
        tracemalloc.stop()
