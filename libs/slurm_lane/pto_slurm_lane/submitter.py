"""From a prepared attempt to its job: submit once, and find out what became of it where nobody knows.

Imports attempts, ports, proto, pto_slurm and siblings. Invariant: after sbatch may have been called, only a job that is
found, or two looks some time apart that do not have one, decides whether there is a job; until then nothing is
submitted again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from pto_proto import events as ev
from pto_runtime.logs import get_logger
from pto_slurm.answers import Ambiguous, Answer, Refused, Submitted, Throttled
from pto_slurm.identity import Attempt
from pto_slurm.verdicts import THERE
from pto_slurm_lane.assignment import Assignment
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record
from pto_slurm_lane.news import News
from pto_slurm_node.spool import claim_of

UNSURE_S = 15.0
"""Longer than a message to the controller may be on its way (MessageTimeout)."""
LOOK_AGAIN_S = 5.0
Say = Callable[[str, str], None]
"""Reports a state of the job, with a detail."""


class Submitter:
    """Of one attempt. ``said`` are the jobs whose executors left word for it."""

    def __init__(
        self, record: Record, attempt: Attempt, assignment: Assignment, lane: Lane, news: News, say: Say
    ) -> None:
        self._record = record
        self._attempt = attempt
        self._assignment = assignment
        self._lane = lane
        self._news = news
        self._say = say
        self.said: list[str] = []
        self._logger = get_logger().bind(run=record.run, task=attempt.task, attempt=attempt.attempt)

    async def submit(self) -> ev.TaskFinished | None:
        """None when the attempt has a job; else the end of an attempt that has none."""
        record, lane = self._record, self._lane
        lane.projections.define(record, self._argv())
        while True:
            if record.has_intent and await self._find_job():
                return None
            if record.stop_reason is None:
                await self._or_stopped(lane.places.take(record.order, record.name))
            if record.stop_reason is not None:
                return lane.outcomes.cancelled(record.order, record.stop_reason)
            answer = await self._call()
            if isinstance(answer, Submitted):
                self._adopt(answer.job)
                return None
            if isinstance(answer, Refused):
                if not answer.is_sure and await self._find_job():
                    return None
                return lane.outcomes.failed(record.order, answer.failure, answer.words, answer.hint)
            if isinstance(answer, Throttled):
                record.has_intent = False
                lane.gate.shut(answer.words)
                self._say("waiting", answer.words)
            elif isinstance(answer, Ambiguous):
                if record.is_unsure:  # this is no hiccup any more
                    self._say("waiting", answer.words)
                record.is_unsure = True
                self._logger.warning("sbatch's answer may hide a job; looking for it", answer=answer.words)

    async def _call(self) -> Answer | None:
        """What sbatch answers, once it is this attempt's turn; None: stopped before. The intent is kept first."""
        record, lane = self._record, self._lane
        if not await self._or_stopped(lane.gate.enter()):
            return None
        try:
            if record.stop_reason is not None:
                return None  # it came together with the turn
            record.has_intent, record.is_early = True, False
            lane.ledger.keep(record)
            return await lane.clients.submit(self._argv())
        finally:
            lane.gate.leave()

    def _argv(self) -> tuple[str, ...]:
        if self._record.shape is None:
            raise RuntimeError("an attempt is submitted before it was prepared")
        return self._assignment.argv(self._record.shape, tuple(self._record.after.values()))

    async def _or_stopped(self, waiting: Coroutine[Any, Any, None]) -> bool:
        """Wait for it, or until the attempt is to end; whether it came."""
        task = asyncio.create_task(waiting)
        task.add_done_callback(lambda _: self._news.wake())
        try:
            while not task.done() and self._record.stop_reason is None:
                await self._news.wait()
            if not task.done():
                return False
            await task
            return True
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _find_job(self) -> bool:
        """Whether the attempt has a job: True when it is found, False when it provably has none."""
        lane, asked_s = self._lane, self._lane.clock.monotonic_s()
        first_empty_s: float | None = None
        while True:
            job = self.trace()
            if job:
                self._logger.info("the attempt's job is found", job=job)
                self._adopt(job)
                return True
            look = lane.watch.look
            if look is not None and look.began_s > asked_s:
                if first_empty_s is None:
                    first_empty_s = look.began_s
                elif look.began_s - first_empty_s >= UNSURE_S:
                    await lane.board.scan()
                    if not self.trace():
                        self._logger.info("sbatch left no job")
                        return False
            left_s = 0.0 if first_empty_s is None else first_empty_s + UNSURE_S - lane.clock.monotonic_s()
            if left_s <= 0:
                lane.watch.hurry()
            await self._news.wait(left_s if left_s > 0 else LOOK_AGAIN_S)

    def trace(self) -> str:
        """The job that the executor's claim, its words or the last look name for the attempt; others are cancelled."""
        lane = self._lane
        claim, look = claim_of(self._assignment.folder), lane.watch.look
        named = look.named(self._attempt.job_name, self._attempt.comment) if look else []
        rows = [row for row in named if row.job not in self._record.void]
        jobs = [*([claim.job] if claim else []), *self.said, *(row.job for row in rows)]
        for surplus in {row.job for row in rows if row.state in THERE} - set(jobs[:1]):
            self._logger.warning("a second job of the attempt is cancelled", job=surplus)
            lane.canceller.cancel(surplus)
        return jobs[0] if jobs else ""

    def _adopt(self, job: str) -> None:
        record, lane = self._record, self._lane
        record.job = job
        lane.ledger.keep(record)
        lane.watch.renew()
        self._say("submitted", "")
