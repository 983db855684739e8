"""One attempt that a pilot is to do: offered in a pool, taken by whoever is free, told by its result.

Imports attempts, ports, proto, pto_slurm and siblings. Invariants: the shared folder is its only record, so nothing is
written twice; what its end is follows from the table of pooled attempts alone; until a pilot has it, it can be taken
back.
"""

import asyncio
from typing import Any

from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_runtime.logs import get_logger
from pto_slurm.identity import attempt_of
from pto_slurm.pooled import judge_pooled
from pto_slurm.shape import JobShape
from pto_slurm.verdicts import Verdict
from pto_slurm_lane.assignment import Assignment
from pto_slurm_lane.ending import Ending
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record
from pto_slurm_lane.news import News
from pto_slurm_lane.wing import Wing
from pto_slurm_node.pool import Claim, Entry
from pto_slurm_node.spool import RESULT, STARTED, Event, events_in

REJUDGE_S = 5.0
FAULT_S = 5.0


class PooledAttempt:
    """``run`` is its life, the rest is news for it."""

    def __init__(self, record: Record, shape: JobShape, wing: Wing, lane: Lane, *, order: int, is_new: bool) -> None:
        self.record = record
        record.shape = shape
        self.job = ""
        """The pilot that has it."""
        self.is_over = False
        self.is_forgotten = False
        self._wing = wing
        self._lane = lane
        self._attempt = attempt_of(record.run, record.ready)
        self._entry = Entry(order, record.run, self._attempt.name)
        self._is_new = is_new
        self._is_offered = False
        self._assignment = Assignment(record.order, self._attempt, lane)
        self._ending = Ending(record, self._assignment, lane)
        self._news = News(lane.clock)
        self._result: dict[str, Any] | None = None
        self._doom: Verdict | None = None
        self._told = ""
        self._logger = get_logger().bind(run=record.run, task=record.ready.task, attempt=record.ready.attempt)

    @property
    def is_waiting(self) -> bool:
        """Whether it is offered and nobody has taken it."""
        return self._is_offered and not self.job and self.record.end is None

    @property
    def is_running(self) -> bool:
        """Whether its work began and has not ended."""
        return bool(self.job) and self.record.end is None

    @property
    def is_told(self) -> bool:
        """Whether its end was reported."""
        return self.record.end is not None

    @property
    def assignment(self) -> Assignment:
        """Where everything about it lies."""
        return self._assignment

    async def run(self) -> None:
        """Live until the end is told."""
        record, lane = self.record, self._lane
        end: ev.TaskFinished | None = None
        while record.end is None:
            try:
                end = end or await self._live()
                record.end = await lane.revise(record, end)
            except LogUnavailable:
                pass  # what has to be stored can be stored later
            except Exception:
                self._logger.exception("a fault of the dispatcher; trying again")
                await lane.clock.sleep(FAULT_S)
        self._started()
        lane.projections.finish(record, lane.spool)
        lane.report(record.order, record.end)
        lane.tails.drop(self._assignment.task_log)
        if self.job:
            self._wing.settled.append(Claim(self._entry, self.job))
        self.is_over = True

    def wake(self) -> None:
        """There was a look, or somebody wants something."""
        if self.job:
            self._news.wake()

    def taken_by(self, job: str) -> None:
        """A pilot has it."""
        if not self.job:
            self.job = self.record.job = job
            self._started()

    def take_event(self, event: Event, data: dict[str, Any]) -> None:
        """The executor left word: only the one that holds the claim does."""
        if self.record.end is not None:
            return
        if event.kind in (STARTED, RESULT) and not self.job:
            self.job = self.record.job = event.fence.job
        self._wing.has_worked(event.fence.job)
        if event.kind == RESULT:
            self._result = data
            self._news.wake()

    def stop(self, reason: str) -> None:
        """End it, at whatever point it is."""
        if self.record.stop_reason is None:
            self.record.stop_reason = reason or "cancelled"
        self._news.wake()

    def doom(self, verdict: Verdict) -> None:
        """No pilot will ever take it."""
        self._doom = verdict
        self._news.wake()

    def say(self, state: str, detail: str = "") -> None:
        """Report a state once."""
        told = f"{state} {detail}".strip()
        if told == self._told or self.record.end is not None:
            return
        self._told = told
        identity = self._lane.outcomes.identity(self.record.order)
        self._lane.report(
            self.record.order, ev.JobStateChanged(**identity, state=state, job=self.record.job, detail=detail)
        )
        self._lane.projections.note(self.record, state)

    # --- its life ---

    async def _live(self) -> ev.TaskFinished:
        record, outcomes = self.record, self._lane.outcomes
        if not self._is_offered:
            if record.stop_reason is not None and (self._is_new or not await asyncio.to_thread(self._find)):
                return outcomes.cancelled(record.order, record.stop_reason)
            try:
                await self._offer()
            except LogUnavailable:
                raise
            except Exception as error:
                return outcomes.failed_by(record.order, error)
        asked_to_stop = False
        while True:
            end = await self._judge()
            if end is not None:
                return end
            if record.stop_reason is not None and not asked_to_stop:
                asked_to_stop = True
                if await self._withdraw():
                    return outcomes.cancelled(record.order, record.stop_reason)
            is_lost = bool(self.job) and self._wing.is_over(self.job)
            await self._news.wait(REJUDGE_S if is_lost else None)

    async def _offer(self) -> None:
        """Put it into the pool, unless an earlier incarnation of this process has."""
        if not self._is_new and await asyncio.to_thread(self._find):
            self._is_offered = True
            return
        told = await self._assignment.told(self._wing.task.minutes * 60.0)
        self._lane.projections.define(self.record, ())
        self._wing.pool.put(self._entry, told)
        self._is_offered = True

    def _find(self) -> bool:
        """Whether it is in the pool, or with a pilot."""
        pool, name = self._wing.pool, self._entry.name
        # In this order, because a pilot may take it between the two looks.
        waiting = next((entry for entry in pool.waiting() if entry.name == name), None)
        for taken in pool.claims():
            if taken.entry.name == name:
                self._entry, self.job = taken.entry, taken.job
                self.record.job = taken.job
                return True
        if waiting is not None:
            self._entry = waiting
            return True
        # The claim goes before the result does, when its end was told but is not in the log.
        return any(event.fence.name == name and event.kind == RESULT for event in events_in(self._lane.spool.results))

    async def _judge(self) -> ev.TaskFinished | None:
        record = self.record
        if self._doom is not None and not self.job:
            if await self._withdraw():
                return await self._ending.by_verdict(self._doom)
            self._doom = None  # a pilot was quicker
        if not self.job:
            return None
        is_ours = record.stop_reason is not None
        seen = self._wing.evidence(self.job, is_ours=is_ours, result=self._result)
        verdict = judge_pooled(seen, self._wing.facts(self.job))
        if verdict.kind == "result" and self._result is not None:
            return await self._ending.by_result(self._result, verdict)
        if verdict.kind == "ended" and self._result is None:
            await self._lane.board.scan()  # what it left counts, however slow the shared folder is
            if self._result is not None:
                return None  # the bell has rung
        if verdict.kind == "ended":
            return await self._ending.by_verdict(verdict, seen.node)
        return None

    async def _withdraw(self) -> bool:
        """Whether it is certain that no pilot does it; a pilot that has it is asked to end it."""
        if not self.job and await asyncio.to_thread(self._wing.pool.withdraw, self._entry):
            return True
        if self.record.stop_reason is not None:
            await asyncio.to_thread(self._wing.pool.stop, self._entry.name)
        return False

    def _started(self) -> None:
        record, lane = self.record, self._lane
        if self.job and not record.is_started:
            record.is_started = True
            lane.report(record.order, lane.outcomes.started(record.order, self.job))
            lane.projections.note(record, "running")
