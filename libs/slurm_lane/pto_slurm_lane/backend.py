"""A SLURM cluster as a backend: jobs outlive this process, and what becomes of them is told exactly once.

Imports attempts, ports, proto and siblings. Invariants: every attempt that was started or adopted ends in one
TaskFinished, however often this process is killed in between; nothing is concluded from silence; jobs that it was not
told of are never touched.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pto_attempts.materials import Materials
from pto_attempts.outcome import Outcomes
from pto_ports.backend import LiveLine, Order, Report
from pto_ports.blob_store import BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog
from pto_proto.ids import InstanceId, external_name
from pto_proto.ids import Lane as LaneName
from pto_runtime.logs import get_logger
from pto_slurm.identity import attempt_of
from pto_slurm.shape import Unplaceable, shape_of
from pto_slurm.verdicts import THERE
from pto_slurm_lane.attempt import JobAttempt
from pto_slurm_lane.board import Board
from pto_slurm_lane.bucket import TokenBucket
from pto_slurm_lane.canceller import Canceller
from pto_slurm_lane.clients import ClientFailed, SlurmClients
from pto_slurm_lane.fleet import Fleet
from pto_slurm_lane.gate import Gate
from pto_slurm_lane.house import House
from pto_slurm_lane.lane import Lane, LaneSettings, Revise, as_it_is
from pto_slurm_lane.ledger import Ledger, Record
from pto_slurm_lane.lookahead import Lookahead
from pto_slurm_lane.outlook import Outlooks
from pto_slurm_lane.places import Places
from pto_slurm_lane.pooled import PooledAttempt
from pto_slurm_lane.projection import PAUSE_S, Projections
from pto_slurm_lane.remote_blobs import RemoteBlobs
from pto_slurm_lane.tail import Tails
from pto_slurm_lane.watch import Watch
from pto_slurm_node.spool import Event, Spool

AWAY_TOLD_S = 60.0
"""So long the controller may be silent before people are told."""
LOOK_ROUND_S = 10.0


class SlurmBackend:
    """Runs ``capacity`` attempts at once, each as a job."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        clock: Clock,
        instance: InstanceId,
        capacity: int,
        settings: LaneSettings,
        work_folder: Callable[[str], Path],
        engines: tuple[str, ...],
        host_environment: Mapping[str, str],
        revise: Revise = as_it_is,
        lane: LaneName | None = None,
        log: EventLog | None = None,
    ) -> None:
        """``lane`` and ``log`` are needed to look ahead, and for nothing else."""
        self._blobs = blobs
        self._clock = clock
        self._settings = settings
        self._capacity = capacity
        self._work_folder = work_folder
        self._engines = engines
        self._host_environment = dict(host_environment)
        self._revise = revise
        self._name = lane
        self._outlooks = Outlooks(log) if log is not None else None
        self._lookahead: Lookahead | None = None
        self._instance = instance
        self._outcomes = Outcomes(blobs, clock, instance)
        self._spool = Spool(settings.spool)
        self._house = House(self._spool, clock)
        self._attempts: dict[str, JobAttempt | PooledAttempt] = {}
        self._fleet: Fleet | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lane: Lane | None = None
        self._told_away = False
        self._ended_records: list[Record] = []
        self._has_ended = asyncio.Event()
        self._logger = get_logger()

    def can_run(self) -> tuple[str, ...]:
        """Noops, commands, and agent tasks of the engines that the nodes are said to have."""
        return ("noop", "command", *(f"agent:{name}" for name in self._engines))

    async def open(self, report: Report, live: LiveLine) -> None:
        """Prepare the shared folder and begin to look. Raises HouseTaken, OSError."""
        installed = self._house.open()
        clock, settings = self._clock, self._settings
        clients = SlurmClients(self._host_environment, limit_s=settings.client_limit_s)
        watch = Watch(
            clients,
            clock,
            interval_s=settings.poll_s,
            floor_s=settings.floor_s,
            is_needed=lambda: bool(self._attempts) or (self._lookahead is not None and self._lookahead.is_busy),
            on_look=self._wake_all,
        )
        lane = self._lane = Lane(
            settings=settings,
            clock=clock,
            spool=self._spool,
            clients=clients,
            ledger=Ledger(settings.spool / "ledger"),
            outcomes=self._outcomes,
            materials=Materials(RemoteBlobs(self._blobs), settings.spool / "blobs"),
            watch=watch,
            board=Board(
                self._spool,
                clock,
                interval_s=settings.scan_s,
                wanted=self._attempts.__contains__,
                on_event=self._take_event,
                is_eager=lambda: self._fleet is not None and self._fleet.is_busy,
            ),
            gate=Gate(clock, TokenBucket(clock, rate=settings.rate, burst=settings.burst), watch),
            places=Places(self._capacity, lambda: 0 if self._fleet is None else self._fleet.there),
            canceller=Canceller(clients, clock, watch),
            projections=Projections(clock, self._work_folder),
            host_environment=self._host_environment,
            report=report,
            live=live,
            tails=Tails(clock, live, interval_s=1.0, logs=self._running_logs),
            installed=installed,
            revise=self._revise,
        )
        self._lookahead = self._looking_ahead(lane)
        self._fleet = Fleet(lane, self._capacity)
        self._go(self._for_ever(self._fleet.run))
        for work in (
            watch.run,
            lane.board.run,
            lane.canceller.run,
            lane.projections.run,
            lane.tails.run,
            self._look_round,
            self._tidy,
        ):
            self._go(self._for_ever(work))

    def _looking_ahead(self, lane: Lane) -> Lookahead | None:
        if self._outlooks is None or self._name is None:
            return None
        return Lookahead(
            lane,
            name=self._name,
            instance=self._instance,
            outlooks=self._outlooks,
            attempts=self._attempts,
            go=self._go,
            discard=self._tidy_up,
        )

    async def start(self, order: Order) -> None:
        """Submit it, in its turn; noops are answered here."""
        ready = order.ready
        if ready.spec.noop and len(ready.trees) < 2:
            lane = self._known_lane()
            lane.report(order, self._outcomes.started(order), self._outcomes.noop_at_once(order))
        elif ready.spec.noop:
            self._go(self._noop(order))
        else:
            self._begin(self._new_record(order), is_new=True)

    async def stop(self, order: Order, reason: str) -> bool:
        """Cancel its job; its end is told when SLURM, or the executor, has confirmed it."""
        attempt = self._attempts.get(_name(order))
        if attempt is None or attempt.is_told:
            return False
        attempt.stop(reason)
        return True

    async def adopt(self, order: Order) -> bool:
        """Go on with it wherever it was: an order without a record was never submitted, and is so now.

        Even then its job is looked for first, because the record may have been lost with its disk.
        """
        if order.ready.spec.noop:
            return False
        record = self._known_lane().ledger.find(_name(order))
        if record is None:
            record = self._new_record(order)
            record.has_intent = self._house.is_new
        record.seq = order.seq
        self._begin(record)
        return True

    async def sweep(self) -> None:
        """What the ledger still holds has ended by the log's word: its jobs must go."""
        lane = self._known_lane()
        left = [record for record in lane.ledger.records() if record.name not in self._attempts]
        given_up = [record for record in left if record.end is None and record.has_intent]
        for record in left:
            if record not in given_up:
                lane.projections.finish(record, lane.spool)  # again, if it was killed before people could see it
                self._clean_up(record)
        await lane.projections.flush()  # copies logs that go below
        if given_up:
            self._go(self._cancel_jobs_of(given_up))
        names = frozenset(self._attempts)
        if self._lookahead is not None:
            names |= self._lookahead.names
            self._go(self._for_ever(self._lookahead.run))
        await asyncio.to_thread(self._house.sweep, names)
        if self._fleet is not None:
            await self._fleet.sweep(names)

    async def _cancel_jobs_of(self, records: list[Record]) -> None:
        """By what SLURM says of them: the id of a job that it has forgotten may be another one's by now."""
        lane = self._known_lane()
        comments = {attempt_of(record.run, record.ready).comment for record in records}
        while True:
            try:
                jobs = await lane.clients.jobs()
                break
            except ClientFailed as failed:
                self._logger.warning("jobs of attempts that were given up are still looked for", reason=str(failed))
                await self._clock.sleep(LOOK_ROUND_S)
        for row in jobs:
            if row.comment in comments and row.state in THERE:
                lane.canceller.cancel(row.job)
        for record in records:
            lane.projections.note(record, "ended")
            self._clean_up(record)

    def forget(self, order: Order) -> None:
        """Its end is in the log."""
        attempt = self._attempts.get(_name(order))
        if attempt is not None:
            attempt.is_forgotten = True
            if attempt.is_over:
                self._drop(attempt)
            if self._lookahead is not None:
                self._lookahead.wake()

    async def close(self) -> None:
        """Leave the jobs alone; they are found again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._fleet is not None:
            await self._fleet.leave()
        if self._lookahead is not None:
            await self._lookahead.close()
        if self._lane is not None:
            for attempt in list(self._attempts.values()):
                if attempt.is_told and attempt.is_forgotten:  # all that its job still does is to end
                    self._drop(attempt)
            await self._clear_away(self._lane)
        self._house.close()

    # --- attempts ---

    def _new_record(self, order: Order) -> Record:
        return Record(run=order.run, seq=order.seq, ready=order.ready, name=_name(order))

    def _begin(self, record: Record, *, is_new: bool = False) -> None:
        if record.name in self._attempts:
            return
        attempt = self._attempts[record.name] = self._attempt(record, is_new=is_new)
        self._known_lane().watch.renew()
        self._go(self._live(attempt))

    def _attempt(self, record: Record, *, is_new: bool) -> JobAttempt | PooledAttempt:
        """For a pilot or as a job of its own; one that asks for the impossible finds that out as a job."""
        lane, ready = self._known_lane(), record.ready
        if self._fleet is not None:
            with suppress(Unplaceable):
                shape = shape_of(ready.spec, lane.settings.site, exclude=ready.avoid)
                if self._fleet.takes(record, shape) or (not is_new and self._fleet.is_with_pilot(record)):
                    return self._fleet.enlist(record, shape, is_new=is_new)
        return JobAttempt(record, lane)

    async def _live(self, attempt: JobAttempt | PooledAttempt) -> None:
        if self._lookahead is not None:
            await self._lookahead.hand_over(attempt)
        await attempt.run()
        if isinstance(attempt, PooledAttempt) and self._fleet is not None:
            self._fleet.dismiss(attempt)
        if attempt.is_forgotten:
            self._drop(attempt)

    def _drop(self, attempt: JobAttempt | PooledAttempt) -> None:
        if self._attempts.pop(attempt.record.name, None) is not None:
            self._clean_up(attempt.record)

    def _clean_up(self, record: Record) -> None:
        self._known_lane().board.drop(record.name)
        self._tidy_up(record)

    def _tidy_up(self, record: Record) -> None:
        self._ended_records.append(record)
        self._has_ended.set()

    async def _tidy(self) -> None:
        """Remove what ended attempts leave behind, many in one go, when people have copies of their logs."""
        lane = self._known_lane()
        while True:
            await self._has_ended.wait()
            await self._clock.sleep(PAUSE_S)
            self._has_ended.clear()
            await self._clear_away(lane)

    async def _clear_away(self, lane: Lane) -> None:
        """Records are let go last: what is interrupted is left to ``close``, since no sweep may ever follow."""
        records = list(self._ended_records)
        await lane.projections.flush()
        await asyncio.to_thread(self._house.clean_up_all, records)
        for record in records:
            if record.name not in self._attempts:
                lane.ledger.drop(record.name)
        del self._ended_records[: len(records)]

    async def _noop(self, order: Order) -> None:
        lane = self._known_lane()
        lane.report(order, self._outcomes.started(order))
        try:
            end = await self._outcomes.noop(order, await lane.materials.seen_by(order.ready))
        except Exception as error:
            end = self._outcomes.failed_by(order, error)
        lane.report(order, end)

    # --- news ---

    def _take_event(self, event: Event, data: dict[str, object]) -> None:
        attempt = self._attempts.get(event.fence.name)
        if attempt is not None:
            attempt.take_event(event, data)

    def _wake_all(self) -> None:
        for attempt in self._attempts.values():
            attempt.wake()
        if self._fleet is not None:
            self._fleet.take_look()
        if self._lookahead is not None:
            self._lookahead.wake()

    def _running_logs(self) -> Iterator[tuple[Order, str, Path]]:
        for attempt in self._attempts.values():
            if attempt.is_running:
                yield attempt.record.order, "stdout", attempt.assignment.task_log

    async def _look_round(self) -> None:
        """Tell people when the controller has been silent for long, once, and when it is back."""
        lane = self._known_lane()
        while True:
            await self._clock.sleep(LOOK_ROUND_S)
            since = lane.watch.away_since_s
            is_long = since is not None and self._clock.monotonic_s() - since >= AWAY_TOLD_S
            if is_long and not self._told_away:
                for attempt in list(self._attempts.values()):
                    attempt.say("unreachable", f"the SLURM controller does not answer: {lane.watch.away_why}")
            self._told_away = is_long

    # --- tasks ---

    def _known_lane(self) -> Lane:
        if self._lane is None:
            raise RuntimeError("the backend was not opened")
        return self._lane

    async def _for_ever(self, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A part of the dispatcher: without it attempts would seem to run, so that a fault must not end it."""
        while True:
            try:
                await part()
            except Exception:
                self._logger.exception("a part of the dispatcher failed, and begins again", part=part.__qualname__)
                await self._clock.sleep(LOOK_ROUND_S)
            else:
                return

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._logger.error("a part of the dispatcher failed", exc_info=task.exception())


def _name(order: Order) -> str:
    ready = order.ready
    return external_name(order.run, ready.task, ready.attempt, ready.round)
