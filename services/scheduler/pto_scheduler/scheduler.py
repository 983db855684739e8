"""The scheduler's shell: read -> fold -> decide -> write, one tick after the other.

Imports core, ports, proto and runtime. Invariants: it decides only on what it has read back from the log, its own
writes included; one tick is in flight at a time; every write carries the fence, so a newer leader makes it harmless.

1. Read the whole log and fold it; fold along until the lease is free. 2. Announce a new epoch behind the fence of the
last one; read until that epoch is seen. 3. Tick: fold what is new, answer requests, decide; write all of it (one
message plainly, more as one batch). 4. Wait until the tick is read back. An answer other than a clean acknowledgement
is settled by reading: the tick is in the log, or a newer epoch is (step down to 1), or neither and the same bytes are
sent again.
"""

import asyncio
from collections.abc import Callable

from pto_core.coalesce import Message, coalesce
from pto_core.decide import Decision, decide, next_due
from pto_core.fold import evolve, poison
from pto_core.money import FIRST_ESTIMATES, Estimates
from pto_core.own_events import OwnEvents
from pto_core.reading import run_of
from pto_core.state import State
from pto_ports.blob_store import BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import MAX_BATCH, EventLog, Fence, LogUnavailable, NotSettled, Outgoing, Recorded
from pto_ports.lease import CLAIM_S, Lease
from pto_ports.live import LiveChannel
from pto_ports.observer import UNOBSERVED, Look, Observer
from pto_ports.snapshots import SnapshotStore
from pto_proto import events as ev
from pto_proto.envelope import ProtocolError, UnknownVersion
from pto_proto.ids import InstanceId, RunId
from pto_proto.subjects import EPOCH_SUBJECT
from pto_runtime.audit_answers import AuditAnswers
from pto_runtime.gc_pause import gc_paused
from pto_runtime.logs import get_logger
from pto_scheduler.feed import Feed
from pto_scheduler.intake import Intake
from pto_scheduler.leadership import Leadership
from pto_scheduler.snapshots import Snapshots

CATCH_UP_WAIT_S = 5.0
"""Longest wait of one read while catching up."""
IDLE_S = 60.0
"""Longest sleep without news; only bounds how often the loop looks round."""
CONFIRM_S = 0.25
"""How long to look for an unsettled tick in the log before the same bytes are sent again."""
RETRY_S = 0.05
"""Pause before a tick is sent again while the log is away."""


class Deposed(Exception):
    """Another scheduler has started a newer epoch or taken the lease: this one must not decide any more."""


class Scheduler:
    """The only decider. One of these leads; the others fold along and take over when its lease ends."""

    def __init__(
        self,
        *,
        log: EventLog,
        intake: Intake,
        clock: Clock,
        lease: Lease,
        live: LiveChannel,
        snapshots: SnapshotStore | None = None,
        blobs: BlobStore | None = None,
        estimates: Estimates = FIRST_ESTIMATES,
        instance: InstanceId,
        incarnation: str,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._log = log = observer.watch_log(log)
        self._observer = observer
        self._intake = intake
        self._clock = clock
        self._leadership = Leadership(lease, live, clock)
        self._snapshots = Snapshots(snapshots, log, clock, blobs)
        self._audits = AuditAnswers(live, clock, self._look, instance=instance, incarnation=incarnation)
        self._estimates = estimates
        self._instance = instance
        self._incarnation = incarnation
        self._source = f"scheduler/{instance}"
        self.state = State()
        self._epoch = 0
        self._ticks = 0
        self._has_answered = False
        """Whether the last tick answered requests."""
        self._wake = asyncio.Event()
        """Set when there is something to look at: news, a request, or the order to stop."""
        self._feed: Feed | None = None
        self._stop = asyncio.Event()
        self._deposed = ""
        """Why this one must not decide any more."""
        self._seen: set[str] = set()
        """Wire ids of the tick in flight that were read back."""
        self._own = OwnEvents()
        self._logger = get_logger().bind(instance=instance)
        observer.watch_state(self._look)

    async def run(self, stop: asyncio.Event, *, on_up: Callable[[], None] = lambda: None) -> None:
        """Lead or stand by until ``stop`` is set; ``on_up`` is called when the log was folded to its head.

        Raises LogCorrupt, UnknownVersion.
        """
        self._stop = stop
        self.state, reader, news = await self._snapshots.recall()
        with gc_paused():
            self._fold(news)
            while not reader.caught_up:
                self._fold(await reader.next(CATCH_UP_WAIT_S))
        self._feed = Feed(reader, self._wake)
        stopping = asyncio.create_task(self._wake_on(stop))
        try:
            await self._leadership.open(self._wake)
            await self._audits.open()
            on_up()
            may_claim = True
            while await self._stand_by(may_claim=may_claim):
                try:
                    await self._lead()
                except Deposed as deposed:
                    self._logger.warning("standing by", reason=str(deposed))
                may_claim = False
        finally:
            stopping.cancel()
            await self._audits.close()
            await self._leadership.close()
            if stop.is_set():
                await self._leadership.release()
                await self._snapshots.close(self.state)
            await self._feed.close()

    def _look(self) -> Look:
        return Look(self.state, "leading" if self._epoch else "standby", self._leadership.trouble())

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    # --- standing by and leading ---

    async def _stand_by(self, *, may_claim: bool) -> bool:
        """Fold along until the lease is ours (True) or ``stop`` is set (False)."""
        self._epoch = 0
        claim_at = self._clock.monotonic_s()
        while not self._stop.is_set():
            self._wake.clear()
            self._fold(self._take())
            self._snapshots.keep(self.state)
            self.state.touched.clear()
            now = self._clock.monotonic_s()
            if now >= claim_at:
                if await self._leadership.take(may_claim=may_claim):
                    return True
                claim_at = now + CLAIM_S
            await self._sleep(max(0.0, claim_at - now))
        return False

    async def _lead(self) -> None:
        self._deposed = ""
        keeper = asyncio.create_task(self._leadership.keep(self.state))
        keeper.add_done_callback(lambda _: self._wake.set())
        try:
            await self._leadership.call_roll(self.state)
            await self._start_epoch()
            self.state.touched.update(self.state.active)
            await self._intake.open(self.state.request_seq, self._wake)
            while not self._stop.is_set():
                await self._step()
                if self._leadership.is_lost:
                    raise Deposed("another scheduler holds the lease")
                if keeper.done():
                    keeper.result()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._intake.close()

    async def _start_epoch(self) -> None:
        epoch = self.state.epoch + 1
        entry = ev.SchedulerEpochStarted(
            at=self._now(),
            epoch=epoch,
            instance=self._instance,
            incarnation=self._incarnation,
            schema_level=ev.SCHEMA_LEVEL,
        )
        self._epoch = epoch
        prefix = f"{epoch}.{self._incarnation}"
        messages = coalesce([Decision(None, None, entry)], prefix=prefix, source=self._source)
        await self._write(messages)
        self._logger.info("leading", epoch=epoch, runs=len(self.state.active))

    async def _step(self) -> None:
        began = self._clock.monotonic_s()
        self._wake.clear()
        self._fold(self._take())
        self._snapshots.keep(self.state)
        now = self._now()
        messages = self._tick(now)
        if messages:
            await self._write(messages)
            self._observer.ticked(self._clock.monotonic_s() - began)
            return
        # The very ``now`` that was decided on: what was due by then and not handed out waits for news, not for time.
        due = next_due(self.state, now)
        patience = IDLE_S if due is None else max(0.0, (due - self._clock.now_ms()) / 1000)
        await self._sleep(min(patience, IDLE_S))

    async def _sleep(self, seconds: float) -> None:
        """Until there is news, at most this long."""
        stop_timer = self._clock.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            stop_timer()

    def _take(self) -> list[Recorded]:
        return self._feed.take() if self._feed is not None else []

    def _now(self) -> int:
        return max(self._clock.now_ms(), self.state.now)

    def _tick(self, now: int) -> list[Message]:
        """The messages of the next tick; empty if there is nothing to write."""
        # Never both in one tick, because what is decided must fit the answers, and those are not folded yet; by turns,
        # so that a flood of requests cannot stop what runs.
        answers = [] if self._has_answered else self._intake.answers(self.state, now)
        decisions = answers
        touched: set[RunId] = set()
        if not decisions:
            heard, reused = self._leadership.heard(self.state), self._intake.reused(self.state)
            decisions = decide(self.state, now, heard, reused, self._estimates)
            touched, self.state.touched = self.state.touched, touched
        if not decisions and self._has_answered:
            decisions = answers = self._intake.answers(self.state, now)
        self._has_answered = bool(answers)
        if not decisions:
            return []
        self._ticks += 1
        messages = coalesce(decisions, prefix=f"{self._epoch}.{self._ticks}", source=self._source)
        if len(messages) > MAX_BATCH:
            # Each decision is legal alone: what does not fit is decided again in the next tick.
            messages = messages[:MAX_BATCH]
            self.state.touched |= touched
        return messages

    # --- writing ---

    async def _write(self, messages: list[Message]) -> None:
        """Write one tick and read it back."""
        outgoing = [Outgoing(message.subject, message.data, message.wire_id) for message in messages]
        fence = Fence(EPOCH_SUBJECT, self.state.epoch_seq)
        last = outgoing[-1].wire_id
        self._own.wrote(messages)
        self._seen = set()
        is_told = False
        while last not in self._seen:
            try:
                await self._log.append(outgoing, fence)
                await self._read_back(last, patience_s=None)
            except NotSettled as unsettled:
                self._logger.info("looking in the log for a tick", wire_id=last, reason=str(unsettled))
                await self._read_back(last, patience_s=CONFIRM_S)
                if self._stop.is_set() and last not in self._seen:
                    self._logger.warning("stopped with an unsettled tick", reason=str(unsettled))
                    return
            except LogUnavailable as away:
                if self._stop.is_set():
                    self._logger.warning("stopped with an unwritten tick", reason=str(away))
                    return
                if not is_told:
                    is_told = True
                    self._logger.warning("the log takes nothing; trying on", reason=str(away))
                await self._read_back(last, patience_s=RETRY_S)

    async def _read_back(self, wire_id: str, patience_s: float | None) -> None:
        until = None if patience_s is None else self._clock.monotonic_s() + patience_s
        while True:
            self._wake.clear()
            self._fold(self._take())
            if wire_id in self._seen or (until is not None and self._clock.monotonic_s() >= until):
                self._wake.set()
                return
            await self._sleep(RETRY_S)

    # --- folding ---

    def _fold(self, news: list[Recorded]) -> None:
        for recorded in news:
            try:
                event = self._own.read(recorded.data)
            except UnknownVersion:
                raise
            except ProtocolError as error:
                self._quarantine(recorded, error)
                continue
            evolve(self.state, recorded.seq, event)
            self._snapshots.last = recorded
            if event.source == self._source:
                self._seen.add(event.id)
            elif self._feed is not None and event.lane is not None:
                self._leadership.hear(event)
            if event.kind is ev.SchedulerEpochStarted:
                self._check_leadership(event.entries[-1])
        if self._epoch and self._deposed:  # only now, because nothing of what was read may be left out
            raise Deposed(self._deposed)

    def _quarantine(self, recorded: Recorded, error: ProtocolError) -> None:
        run = run_of(recorded.subject)
        self._snapshots.last = None
        self._logger.error(
            "unreadable event", sequence=recorded.seq, subject=recorded.subject, run=run, error=str(error)
        )
        poison(self.state, run, recorded.seq, str(error))

    def _check_leadership(self, entry: ev.SchedulerEpochStarted) -> None:
        if self._epoch and entry.epoch >= self._epoch and entry.incarnation != self._incarnation:
            self._deposed = f"scheduler {entry.instance} leads since epoch {entry.epoch}"
