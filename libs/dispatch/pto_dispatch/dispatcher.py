"""The dispatcher loop: read the lane -> fold -> act on orders -> report what happens, in this order and no other.

Imports core, ports, proto and runtime. Invariants: it acts only on what it has read from the log, and only after
reading to the head; starting never waits for the work; what the backend reports is re-sent with the same bytes until it
is in the log.

1. Read the lane from the start to the head and fold it: which orders are open for this instance. 2. Announce
``DispatcherUp``. 3. Orders from before: the backend adopts what still runs; what provably does not run is reported as
an infra failure; what is left of others is swept away.
4. From then on, side by side: orders are started and stopped as they are read; reports are written as they come; signs
of life are sent. Whoever slept reads to the head again before it starts anything: its orders may have been given up
meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from pto_core.coalesce import Message, coalesce
from pto_core.decide import Decision
from pto_core.failures import HINTS
from pto_core.own_events import OwnEvents
from pto_dispatch.heartbeat import HeartbeatSender
from pto_dispatch.orders import News, OpenOrders, no_news
from pto_dispatch.worker import OrderWorker
from pto_ports.backend import Backend, LiveLine, Order
from pto_ports.clock import Clock
from pto_ports.event_log import MAX_BATCH, MAX_EACH, EventLog, LogReader, LogUnavailable, NotSettled, Outgoing, Recorded
from pto_ports.live import LiveChannel
from pto_proto import events as ev
from pto_proto.envelope import ProtocolError, UnknownVersion
from pto_proto.ids import InstanceId, Lane
from pto_proto.subjects import lane_filter
from pto_runtime.logs import get_logger
from pto_runtime.reading import open_reader, patiently
from pto_runtime.service import CannotServe

READ_WAIT_S = 5.0
"""How long one read waits for news; only bounds how often the loop looks round."""
CONFIRM_S = 0.25
"""How long to look for an unsettled message in the log before it is sent again."""
RETRY_S = 0.05
"""Pause before a message is sent again while the log is away."""
DRAIN_LOOK_S = 0.1
"""How often a draining dispatcher looks whether all has ended."""
SHOWN_LINES = 5
"""Last lines of a failed attempt's output in the service's own log; all that is kept is in the event."""
MAX_REPORTS = 400
"""Reports written at once, four messages in the best case; the rest follows in the next write."""
MANY_REPORTS = 100
"""So many are worth a message of their own at once."""
LINGER_S = 0.002
"""Between two writes while others still run: what a synced message costs everybody is shared by more of them."""
ORDERLESS = frozenset({ev.TaskStarted, ev.TaskFinished, ev.JobStateChanged})
"""What the fold understands in any order, so that a few messages may be stored each by itself.

A plan or a merge and the end of its attempt are stored whole: one without the other would be made again.
"""


class Dispatcher:
    """One instance of a dispatcher in one lane."""

    def __init__(
        self,
        *,
        log: EventLog,
        backend: Backend,
        clock: Clock,
        live: LiveLine,
        channel: LiveChannel,
        lane: Lane,
        instance: InstanceId,
        incarnation: str,
        capacity: int,
        version: str = "",
        drain_s: float = 0.0,
    ) -> None:
        """``drain_s``: how long attempts may go on once ``run`` is asked to stop, while nothing new is taken."""
        self._log = log
        self._backend = backend
        self._clock = clock
        self._live = live
        self._heartbeat = HeartbeatSender(channel, clock, lane, instance, incarnation)
        self._lane = lane
        self._instance = instance
        self._incarnation = incarnation
        self._capacity = capacity
        self._version = version
        self._drain_s = drain_s
        self._source = f"dispatcher/{lane}/{instance}"
        self._orders = OpenOrders(instance)
        self._worker = OrderWorker(
            self._orders,
            backend,
            be_current=self._be_current,
            report_end=self._report_end,
            say_alive=self._say_alive,
        )
        self._outbox: list[Decision] = []
        self._wrote_at = 0.0
        self._wake = asyncio.Event()
        self._writes = 0
        self._read_up_to = 0
        self._has_read = asyncio.Event()
        self._interruptions = 0
        self._was_cut = False
        """Whether the reader lost touch with the log since anything was started."""
        self._is_announced = False
        """Whether this incarnation's own DispatcherUp was read."""
        self._has_read_leaving = False
        """Whether its own DispatcherDraining was read, and so each order from before it."""
        self._unsettled: set[str] = set()
        """Wire ids that wait to be seen in the log."""
        self._own = OwnEvents()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._logger = get_logger().bind(lane=lane, instance=instance)

    async def run(self, stop: asyncio.Event, *, on_up: Callable[[], None] = lambda: None) -> None:
        """Work until ``stop`` is set, and then for as long as the draining lasts; raises what makes going on pointless.

        That is LogCorrupt, UnknownVersion, and CannotServe when another process took this instance's place.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        await self._backend.open(self.report, self._live)
        reader = await open_reader(self._log, self._clock, subject=lane_filter(self._lane))
        writer: asyncio.Task[None] | None = None
        beating: asyncio.Task[None] | None = None
        try:
            await self._catch_up(reader)
            before = dict(self._orders.open)
            await self._announce(reader)
            on_up()
            await self._heartbeat.open()
            beating = asyncio.create_task(self._heartbeat.beat())
            writer = asyncio.create_task(self._write_reports())
            for order in before.values():
                if self._orders.is_open(order):  # the last word of an earlier incarnation may have come meanwhile
                    await self._worker.adopt(order)
            await self._backend.sweep()
            # Orders that came while ``DispatcherUp`` was being written are for this incarnation.
            news = no_news()
            news.start.extend(order for name, order in self._orders.open.items() if name not in before)
            self._worker.take(news)
            await self._follow(reader, writer, stop)
        finally:
            if beating is not None:
                beating.cancel()
            await self._heartbeat.close()
            await self._backend.close()
            has_left = writer is not None and self._drain_s  # said before it drained
            await self._flush(writer, is_leaving=stop.is_set() and not has_left)
            await reader.close()

    def report(self, order: Order, *entries: ev.Entry) -> None:
        """Queue entries about the order's run; the ``Report`` of the backend port."""
        lane, run = self._lane, order.run
        decisions = [Decision(lane, run, self._complete(order, entry)) for entry in entries]
        if threading.get_ident() == self._thread:
            self._queue(decisions)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue, decisions)

    def _queue(self, decisions: list[Decision]) -> None:
        self._outbox += decisions
        self._wake.set()

    async def _catch_up(self, reader: LogReader) -> None:
        is_told = False
        while not reader.caught_up:
            news = await reader.next(READ_WAIT_S)
            for recorded in news:
                self._fold(recorded)
            if not (news or reader.caught_up or is_told):
                is_told = True
                self._logger.warning(
                    "there is more in the log, and nothing comes: is the broker away, or does another process run as "
                    "this account? each needs its own PTO_USER and PTO_INSTANCE"
                )

    async def _announce(self, reader: LogReader) -> None:
        up = ev.DispatcherUp(
            at=self._clock.now_ms(),
            instance=self._instance,
            incarnation=self._incarnation,
            capacity=self._capacity,
            can_run=self._backend.can_run(),
            version=self._version,
        )
        await self._settle(self._render([Decision(self._lane, None, up)]), reader)
        self._logger.info("dispatcher is up", capacity=self._capacity)

    def _report_end(self, order: Order, failure: ev.FailureClass, reason: str) -> None:
        """The attempt does not run; the backend has no part in saying so."""
        outcome: Literal["cancelled", "failed"] = "cancelled" if failure == "cancelled" else "failed"
        self.report(order, ev.TaskFinished(**self._identity(order), outcome=outcome, failure=failure, reason=reason))

    def _identity(self, order: Order) -> dict[str, Any]:
        """What every entry about this order says."""
        ready = order.ready
        return {
            "at": self._clock.now_ms(), "cause": order.seq, "task": ready.task, "attempt": ready.attempt,
            "round": ready.round, "instance": self._instance,
        }  # fmt: skip

    def _complete(self, order: Order, entry: ev.Entry) -> ev.Entry:
        """The entry; a failure is logged, and says what to do about it."""
        if not isinstance(entry, ev.TaskFinished) or entry.outcome != "failed":
            return entry
        entry = msgspec.structs.replace(entry, hint=entry.hint or HINTS[entry.failure or "task"])
        self._logger.warning(
            "attempt failed",
            run=order.run,
            task=entry.task,
            attempt=entry.attempt,
            failure=entry.failure,
            reason=entry.reason,
            exit_code=entry.exit_code,
            tail=entry.tail[-SHOWN_LINES:],
            hint=entry.hint,
        )
        return entry

    async def _follow(self, reader: LogReader, writer: asyncio.Task[None], stop: asyncio.Event) -> None:
        stopped = asyncio.create_task(stop.wait())
        reading = asyncio.create_task(self._read(reader))
        acting = asyncio.create_task(self._worker.work())
        try:
            done, _ = await asyncio.wait({stopped, reading, acting, writer}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
            if stop.is_set() and self._drain_s:
                await self._drain({reading, acting, writer})
        finally:
            for task in (stopped, reading, acting):
                task.cancel()
            await asyncio.gather(reading, acting, return_exceptions=True)

    async def _drain(self, working: set[asyncio.Task[None]]) -> None:
        """Let what is open end; orders that were on their way are carried out too."""
        self._logger.info("draining", attempts=len(self._orders.open), at_most_s=self._drain_s)
        self._queue([self._leaving()])
        until = self._clock.monotonic_s() + self._drain_s
        while not self._has_read_leaving or self._outbox or self._unsettled or self._orders.open:
            left = until - self._clock.monotonic_s()
            if left <= 0:
                self._logger.warning("drained for long enough", attempts=len(self._orders.open))
                return
            done, _ = await asyncio.wait(working, timeout=min(left, DRAIN_LOOK_S), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def _leaving(self) -> Decision:
        entry = ev.DispatcherDraining(at=self._clock.now_ms(), instance=self._instance, incarnation=self._incarnation)
        return Decision(self._lane, None, entry)

    async def _read(self, reader: LogReader) -> None:
        while True:
            news = self._fold_all(await reader.next(READ_WAIT_S))
            self._was_cut |= reader.interruptions != self._interruptions
            self._interruptions = reader.interruptions
            self._worker.take(news)
            for order in news.ended:
                self._backend.forget(order)
            self._has_read.set()

    async def _be_current(self) -> None:
        """Whoever slept or lost touch with the log reads to what is the end of its lane now."""
        if not (self._heartbeat.take_nap() or self._was_cut):
            return
        self._was_cut = False
        head = await patiently(lambda: self._log.last_seq(lane_filter(self._lane)), self._clock)
        self._logger.info("reading to the head before anything starts", head=head)
        while self._read_up_to < head:
            self._has_read.clear()
            await self._has_read.wait()

    def _say_alive(self, order: Order, detail: str) -> None:
        self.report(order, ev.JobStateChanged(**self._identity(order), state="running", detail=detail))

    def _fold_all(self, records: list[Recorded]) -> News:
        news = no_news()
        for recorded in records:
            for more, found in zip(news, self._fold(recorded), strict=True):
                more += found
        return news

    def _fold(self, recorded: Recorded) -> News:
        self._read_up_to = recorded.seq
        try:
            event = self._own.read(recorded.data)
        except UnknownVersion:
            raise
        except ProtocolError as error:
            self._logger.warning("unreadable event", sequence=recorded.seq, error=str(error))
            return no_news()
        if event.source == self._source:
            self._unsettled.discard(event.id)
        if event.kind is ev.DispatcherUp:
            self._check_succession(event.entries)
        elif event.kind is ev.DispatcherDraining:
            self._has_read_leaving |= any(entry.incarnation == self._incarnation for entry in event.entries)
        return self._orders.apply(recorded.seq, event)

    def _check_succession(self, entries: Iterable[ev.DispatcherUp]) -> None:
        for entry in entries:
            if entry.instance != self._instance:
                continue
            if entry.incarnation == self._incarnation:
                self._is_announced = True
            elif self._is_announced:
                raise CannotServe(
                    f"another process announced itself as {self._instance} and took its place; give each process a "
                    "name of its own (PTO_INSTANCE)"
                )

    # --- writing ---

    async def _write_reports(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await self._linger()
                batch, self._outbox = self._outbox[:MAX_REPORTS], self._outbox[MAX_REPORTS:]
                self._wrote_at = self._clock.monotonic_s()
                await self._settle(self._render(batch), None)

    async def _linger(self) -> None:
        """Right after a write, wait for what others that run will have to say, so that a message carries more."""
        left = self._wrote_at + LINGER_S - self._clock.monotonic_s()
        if left <= 0 or len(self._outbox) >= MANY_REPORTS:
            return
        if len(self._orders.open) > sum(isinstance(entry, ev.TaskFinished) for _, _, entry in self._outbox):
            await self._clock.sleep(left)

    def _render(self, decisions: list[Decision]) -> list[Message]:
        self._writes += 1
        return coalesce(decisions, prefix=f"{self._incarnation}.{self._writes}", source=self._source)

    async def _settle(self, messages: list[Message], reader: LogReader | None) -> None:
        """Write until the log has it all; ``reader`` is given while nobody else reads."""
        self._own.wrote(messages)
        if len(messages) <= MAX_EACH and all(message.event.kind in ORDERLESS for message in messages):
            await self._settle_part(messages, reader, is_whole=False)
            return
        for at in range(0, len(messages), MAX_BATCH):
            await self._settle_part(messages[at : at + MAX_BATCH], reader, is_whole=True)

    async def _settle_part(self, part: list[Message], reader: LogReader | None, *, is_whole: bool) -> None:
        outgoing = [Outgoing(message.subject, message.data, message.wire_id) for message in part]
        # Of a whole, the last one tells that all of it is there.
        wanted = {outgoing[-1].wire_id} if is_whole else {message.wire_id for message in outgoing}
        self._unsettled |= wanted
        while not wanted.isdisjoint(self._unsettled):
            try:
                if is_whole:
                    await self._log.append(outgoing)
                else:
                    await self._log.append_each(outgoing)
                self._unsettled -= wanted
            except NotSettled as unsettled:
                self._logger.info("looking in the log for a write", wire_ids=sorted(wanted), reason=str(unsettled))
                await self._look_for(wanted, reader)
            except LogUnavailable:
                await self._clock.sleep(RETRY_S)

    async def _look_for(self, wanted: set[str], reader: LogReader | None) -> None:
        until = self._clock.monotonic_s() + CONFIRM_S
        while not wanted.isdisjoint(self._unsettled) and self._clock.monotonic_s() < until:
            if reader is None:
                await self._clock.sleep(RETRY_S / 10)
                continue
            for recorded in await reader.next(RETRY_S):
                self._fold(recorded)

    async def _flush(self, writer: asyncio.Task[None] | None, *, is_leaving: bool) -> None:
        """Write what the backend reported while closing; what cannot be written is found again after a restart."""
        if writer is not None:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        await asyncio.sleep(0)
        if is_leaving:
            self._outbox.append(self._leaving())
        if self._outbox:
            messages = self._render(self._outbox)
            outgoing = [Outgoing(message.subject, message.data, message.wire_id) for message in messages]
            try:
                await self._log.append(outgoing[:MAX_BATCH])
            except (NotSettled, LogUnavailable) as error:
                self._logger.warning("last reports could not be written", reason=str(error))
