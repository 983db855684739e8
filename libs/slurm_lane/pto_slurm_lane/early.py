"""One job that is submitted before its task's turn: it waits in SLURM for the jobs of the task's parents.

Imports pto_slurm, runtime and siblings. Invariants: its intent is on the disk before it is submitted; nothing of it is
told to the log; it can do nothing before its order is there; a stopped one counts until SLURM says that it is
over, or there surely was none.
"""

import asyncio
from contextlib import suppress

import msgspec

from pto_runtime.logs import get_logger
from pto_slurm.identity import attempt_of
from pto_slurm.verdicts import THERE
from pto_slurm_lane.assignment import Assignment
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Ledger, Record
from pto_slurm_lane.news import News
from pto_slurm_lane.places import Places
from pto_slurm_lane.sighting import Sighting
from pto_slurm_lane.submitter import Submitter

ASK_AGAIN_S = 30.0
FAULT_S = 5.0


def lane_of_early(lane: Lane) -> Lane:
    """The same lane with a ledger of its own for early jobs."""
    return msgspec.structs.replace(lane, ledger=Ledger(lane.settings.spool / "ledger" / "early"))


class EarlyJob:
    """One of them. ``run`` is its life; it ends when it is over or ``hand_over`` gave it away."""

    def __init__(self, record: Record, lane: Lane) -> None:
        self.record = record
        self._lane = lane = msgspec.structs.replace(lane, places=Places(1))  # it takes nobody's place
        self._news = News(lane.clock)
        self._attempt = attempt_of(record.run, record.ready)
        self._assignment = Assignment(record.order, self._attempt, lane)
        self._submitter = Submitter(record, self._attempt, self._assignment, lane, self._news, self._say)
        self._settled, self._over = asyncio.Event(), asyncio.Event()
        self._is_given_away = False
        self._asked_at_s = 0.0
        self._logger = get_logger().bind(run=record.run, task=record.ready.task)

    @property
    def is_over(self) -> bool:
        """Whether there is no job, or no longer."""
        return self._over.is_set()

    @property
    def is_there(self) -> bool:
        """Whether the last look has it, and nobody wants its end."""
        look, record = self._lane.watch.look, self.record
        row = look.jobs.get(record.job) if look is not None else None
        return record.stop_reason is None and row is not None and row.state in THERE and not self.is_over

    async def run(self) -> None:
        """Submit it, and follow it to its end."""
        while not self.is_over and not self._is_given_away:
            try:
                await self._live()
            except OSError as error:
                self._logger.warning("an early job cannot be written down", reason=str(error))
                if not self.record.has_intent:
                    self._end()
                    return
                await self._lane.clock.sleep(FAULT_S)

    def wake(self) -> None:
        """There was a look."""
        self._news.wake()

    def stop(self, why: str) -> None:
        """End it, at whatever point it is."""
        if self.record.stop_reason is None:
            self._logger.info("an early job is not wanted any more", job=self.record.job, reason=why)
            self.record.stop_reason = why
            with suppress(OSError):  # whoever reads the record asks the log again
                self._lane.ledger.keep(self.record)
        self._news.wake()

    async def settled(self) -> None:
        """Return when it is known which job it is, or that there is none."""
        await self._settled.wait()

    async def over(self) -> None:
        """Return when there is no job, or no longer."""
        await self._over.wait()

    def give_away(self) -> None:
        """Its attempt has it from now on."""
        self._is_given_away = True
        self._news.wake()

    async def _live(self) -> None:
        record = self.record
        if not record.job and record.after:
            if not record.has_intent:
                self._assignment.announce(self._lane.settings.order_wait_s)
            end = await self._submitter.submit()
            if end is not None:
                self._logger.info("no early job", reason=end.reason)
        self._settled.set()
        if record.job:
            await self._follow()
        if self._is_given_away:
            return
        if record.job:
            record.void, record.job = (*record.void, record.job), ""
        record.has_intent, record.after = False, {}
        self._lane.ledger.keep(record)
        self._lane.projections.note(record, "planned")
        self._end()

    async def _follow(self) -> None:
        record, lane = self.record, self._lane
        sighting = Sighting(lane.clock, record.job, self._attempt.comment, record.shape)
        while not self._is_given_away:
            if lane.watch.look is not None:
                sighting.take_look(lane.watch.look)
            if sighting.is_over:
                return
            if sighting.was_seen and (record.stop_reason is not None or sighting.waits_in_vain):
                now = lane.clock.monotonic_s()
                if not self._asked_at_s or now - self._asked_at_s >= ASK_AGAIN_S:
                    self._asked_at_s = now
                    lane.canceller.cancel(record.job)
            await self._news.wait()

    def _end(self) -> None:
        self._settled.set()
        self._over.set()

    def _say(self, state: str, detail: str) -> None:
        """Of a job before its order nothing is told; where none can be submitted now, there is none."""
        if state == "waiting":
            self.stop(f"it cannot be submitted now: {detail}")
        else:
            self._lane.projections.note(self.record, "early")
