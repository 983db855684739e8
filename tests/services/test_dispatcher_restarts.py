"""A dispatcher that begins where another one stopped, and one that stops in order."""

import asyncio
from collections.abc import Sequence

import pytest

from pto_dispatch.dispatcher import DRAIN_LOOK_S, Dispatcher
from pto_memory import MemoryEventLog, MemoryLiveChannel
from pto_ports.backend import Order
from pto_ports.event_log import Fence, LogReader, NotSettled, Outgoing, Recorded
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import LANE_LOCAL, InstanceId, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_runtime.clock import SystemClock
from small_system import FakeBackend, no_lines

NAME, RUN = InstanceId("d-1"), RunId("run-one")


def outgoing(number: int, entry: ev.Entry) -> Outgoing:
    event = Event(id=f"1.{number}.0", source="t", kind=type(entry), lane=LANE_LOCAL, run=RUN, entries=(entry,))
    return Outgoing(event.subject, encode_event(event), event.id)


class LateLog(MemoryEventLog):
    """Stores what was on its way when the dispatcher announces itself, and gives it no clear answer."""

    late: Outgoing | None = None

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        late, self.late = self.late, None
        if late is not None:
            await super().append([late])
        seq = await super().append(messages, fence)
        if late is not None:
            raise NotSettled("no answer")
        return seq


class Adopting(FakeBackend):
    """Finds every attempt."""

    def __init__(self) -> None:
        super().__init__(NAME, "command")
        self.adopted: list[str] = []

    async def adopt(self, order: Order) -> bool:
        self.adopted.append(order.ready.task)
        return True


def dispatcher(log: MemoryEventLog, backend: FakeBackend, drain_s: float = 0.0) -> Dispatcher:
    return Dispatcher(
        log=log, backend=backend, clock=SystemClock(), live=no_lines, channel=MemoryLiveChannel(), lane=LANE_LOCAL,
        instance=NAME, incarnation="i2", capacity=2, drain_s=drain_s,
    )  # fmt: skip


async def test_an_attempt_whose_end_comes_while_its_dispatcher_announces_itself_is_not_adopted() -> None:
    log, backend = LateLog(), Adopting()
    for number, name in enumerate(("ends", "runs")):
        spec = TaskSpec(id=TaskId(name), command="true")
        await log.append([outgoing(number, ev.TaskReady(at=1, task=spec.id, attempt=1, instance=NAME, spec=spec))])
    end = ev.TaskFinished(at=1, task=TaskId("ends"), attempt=1, instance=NAME, outcome="succeeded")
    log.late = outgoing(9, end)
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(log, backend).run(stop, on_up=stop.set))
    async with asyncio.timeout(20):
        await running
    assert backend.adopted == ["runs"]


@pytest.mark.parametrize("drain_s", [0.0, 5.0])
async def test_draining_is_said_once(drain_s: float) -> None:
    log, stop = MemoryEventLog(), asyncio.Event()
    async with asyncio.timeout(20):
        await dispatcher(log, FakeBackend(NAME, "command"), drain_s).run(stop, on_up=stop.set)
    kinds = [decode_event(recorded.data).kind for recorded in log.stored()]
    assert kinds == [ev.DispatcherUp, ev.DispatcherDraining]


class DeafLog(MemoryEventLog):
    """Stores the announcement and does not answer for it."""

    def __init__(self) -> None:
        super().__init__()
        self.stored_it = asyncio.Event()

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        seq = await super().append(messages, fence)
        if not self.stored_it.is_set():
            self.stored_it.set()
            await asyncio.Event().wait()
        return seq


@pytest.mark.parametrize("drain_s", [0.0, 5.0])
async def test_who_is_stopped_while_it_announces_itself_takes_that_back(drain_s: float) -> None:
    log, stop = DeafLog(), asyncio.Event()
    running = asyncio.create_task(dispatcher(log, FakeBackend(NAME, "command"), drain_s).run(stop))
    async with asyncio.timeout(20):
        await log.stored_it.wait()
        stop.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    kinds = [decode_event(recorded.data).kind for recorded in log.stored()]
    assert kinds == [ev.DispatcherUp, ev.DispatcherDraining]


class LaggingReader:
    """Brings what it read some time later."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.interruptions = 0

    @property
    def caught_up(self) -> bool:
        return self._reader.caught_up

    async def next(self, max_wait_s: float) -> list[Recorded]:
        news = await self._reader.next(max_wait_s)
        await asyncio.sleep(5 * DRAIN_LOOK_S)
        return news

    async def close(self) -> None:
        await self._reader.close()


class CrossingLog(MemoryEventLog):
    """Stores an order right before the word of the draining; readers come to both when the writer has its answer."""

    async def read(self, *, after: int = 0, subject: str | None = None) -> LogReader:
        return LaggingReader(await super().read(after=after, subject=subject))

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        if any(decode_event(message.data).kind is ev.DispatcherDraining for message in messages):
            spec = TaskSpec(id=TaskId("crossing"), command="true")
            ready = ev.TaskReady(at=1, task=spec.id, attempt=1, instance=NAME, spec=spec)
            await super().append([outgoing(1, ready)])
        return await super().append(messages, fence)


async def test_an_order_that_crosses_the_draining_is_carried_out() -> None:
    log, backend, stop = CrossingLog(), FakeBackend(NAME, "command"), asyncio.Event()
    async with asyncio.timeout(20):
        await dispatcher(log, backend, drain_s=5.0).run(stop, on_up=stop.set)
    assert backend.started == [("crossing", 1)]
    assert ev.TaskFinished in {decode_event(recorded.data).kind for recorded in log.stored()}
