"""One attempt from its order to its end: prepare, submit, follow, tell, and wait until its job is over.

Imports attempts, ports, proto, pto_slurm and siblings. Invariants: after sbatch may have been called, nothing but a job
found, or two looks that did not have it, decides whether there is a job; what the attempt's end is follows from the
table of verdicts alone; a fault of this program ends no attempt whose job may still be there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from pto_attempts.outcome import with_bill
from pto_proto import events as ev
from pto_runtime.logs import get_logger
from pto_slurm.answers import Ambiguous, Refused, Submitted, Throttled
from pto_slurm.identity import attempt_of
from pto_slurm.pending import what_it_needs
from pto_slurm.shape import Unplaceable, more_memory, more_time, shape_of
from pto_slurm.submission import sbatch_argv
from pto_slurm.verdicts import JobFacts, Verdict, judge
from pto_slurm_lane.assignment import Assignment
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record, Wish
from pto_slurm_lane.sighting import Sighting
from pto_slurm_node.spool import RESULT, Event, claim_of

UNSURE_S = 15.0
"""Two looks so far apart must not have a job before it is submitted again: longer than a message to the controller may
be on its way (MessageTimeout).
"""
REJUDGE_S = 5.0
"""Time itself is evidence for jobs that have ended or are absent."""
ASK_AGAIN_S = 30.0
"""A job that is still there so long after it was cancelled is cancelled again."""
FAULT_S = 5.0


class JobAttempt:
    """One attempt; ``run`` is its life, the rest is news for it."""

    def __init__(self, record: Record, lane: Lane, *, is_new: bool) -> None:
        self.record = record
        self._lane = lane
        self._is_new = is_new
        self._attempt = attempt_of(record.run, record.ready)
        self._assignment = Assignment(record.order, self._attempt, lane)
        self._news = asyncio.Event()
        self._sighting: Sighting | None = None
        self._early: list[tuple[Event, dict[str, object]]] = []
        """Words that came before the job's id was known."""
        self._asked_at_s = 0.0
        self._doom: Verdict | None = None
        """The end of an attempt whose job must go first."""
        self.is_over = False
        self._logger = get_logger().bind(run=record.run, task=record.ready.task, attempt=record.ready.attempt)

    @property
    def is_running(self) -> bool:
        """Whether its work began and has not ended."""
        return self.record.is_started and self.record.end is None

    @property
    def assignment(self) -> Assignment:
        """Where everything about it lies."""
        return self._assignment

    async def run(self) -> None:
        """Live until the job is over and the end is told."""
        record, lane = self.record, self._lane
        try:
            if record.end is None:
                end = await self._persist(self._live)
                record.end = end
                await self._persist(self._keep)
            self._tell(record.end)
            await self._persist(self._linger)
        finally:
            await lane.places.free(record.order, record.name)
        self.is_over = True

    def wake(self) -> None:
        """There was a look, or somebody wants something."""
        self._news.set()

    def take_event(self, event: Event, data: dict[str, object]) -> None:
        """The executor left word."""
        if self.record.end is not None:
            return
        if self._sighting is None:
            self._early.append((event, data))
        else:
            self._take_word(event, data)
        self._news.set()

    def stop(self, reason: str) -> None:
        """End it, at whatever point it is."""
        if self.record.stop_reason is None:
            self.record.stop_reason = reason or "cancelled"
            self._lane.ledger.keep(self.record)
        self._news.set()
        self._lane.watch.hurry()

    def say(self, state: str, detail: str = "") -> None:
        """Report a state of the job once."""
        told = f"{state} {detail}".strip()
        if told == self.record.told_state or self.record.end is not None:
            return
        self.record.told_state = told
        entry = ev.JobStateChanged(
            **self._lane.outcomes.identity(self.record.order), state=state, job=self.record.job, detail=detail
        )
        self._lane.report(self.record.order, entry)
        self._lane.projections.note(self.record, state)

    # --- its life ---

    async def _live(self) -> ev.TaskFinished:
        record = self.record
        if record.job or record.has_intent:
            self._lane.places.keep(record.order, record.name)
        if not record.job:
            end = await self._begin()
            if end is not None:
                return end
        return await self._follow()

    async def _persist(self, step: "Callable[[], Awaitable[ev.TaskFinished]]") -> ev.TaskFinished:
        """Do the step; a fault of ours is told and tried again, because the job knows nothing of it."""
        while True:
            try:
                return await step()
            except Exception as fault:
                self._logger.error("a fault of the dispatcher; trying again", exc_info=fault)
                await self._lane.clock.sleep(FAULT_S)

    async def _keep(self) -> ev.TaskFinished:
        assert self.record.end is not None
        self._lane.ledger.keep(self.record)
        return self.record.end

    async def _begin(self) -> ev.TaskFinished | None:
        """Prepare and submit; an end if there will be no job."""
        record, lane = self.record, self._lane
        if not record.has_intent:
            if record.stop_reason is not None:
                return lane.outcomes.cancelled(record.order, record.stop_reason)
            try:
                wish, avoided = lane.ledger.wish_of(self._attempt), lane.offenders.avoided()
                record.shape = shape_of(
                    record.ready.spec, lane.settings.site, again=wish.resources(), exclude=avoided
                )
                await self._assignment.prepare()
            except Unplaceable as wrong:
                return lane.outcomes.failed(record.order, "config", str(wrong))
            except Exception as error:
                return lane.outcomes.failed_by(record.order, error)
        return await self._submit()

    async def _submit(self) -> ev.TaskFinished | None:
        record, lane = self.record, self._lane
        while True:
            if record.has_intent and await self._find_job():
                return None
            if record.stop_reason is None:
                await self._or_stopped(lane.places.take(record.order, record.name))
            if record.stop_reason is not None:
                return lane.outcomes.cancelled(record.order, record.stop_reason)
            async with lane.gate.turn():
                if record.stop_reason is not None:
                    return lane.outcomes.cancelled(record.order, record.stop_reason)
                record.has_intent = True
                lane.ledger.keep(record)
                answer = await lane.clients.submit(self._argv())
            if isinstance(answer, Submitted):
                self._adopt(answer.job)
                return None
            if isinstance(answer, Refused):
                return lane.outcomes.failed(record.order, answer.failure, answer.words, answer.hint)
            if isinstance(answer, Throttled):
                record.has_intent = False
                lane.gate.shut(answer.words)
                self.say("waiting", answer.words)
            elif isinstance(answer, Ambiguous):
                self._logger.warning("sbatch's answer may hide a job; looking for it", answer=answer.words)

    async def _or_stopped(self, waiting: Awaitable[None]) -> None:
        """Wait for it, or until the attempt is to end."""
        task = asyncio.ensure_future(waiting)
        try:
            while not task.done() and self.record.stop_reason is None:
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({task, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _argv(self) -> tuple[str, ...]:
        assert self.record.shape is not None
        return sbatch_argv(self._assignment.job(self.record.shape))

    # --- a job that may be there ---

    async def _find_job(self) -> bool:
        """Whether the attempt has a job: True when it is found, False when it provably has none."""
        lane, asked_s = self._lane, self._lane.clock.monotonic_s()
        first_empty_s: float | None = None
        number = lane.watch.look.number if lane.watch.look else 0
        while True:
            job = self._trace()
            if job:
                self._logger.info("the attempt's job is found", job=job)
                self._adopt(job)
                return True
            look = lane.watch.look
            if look is not None and look.number != number and look.began_s >= asked_s:
                number = look.number
                if first_empty_s is None:
                    first_empty_s = look.began_s
                elif look.began_s - first_empty_s >= UNSURE_S:
                    await lane.board.scan()
                    return bool(self._trace()) and await self._find_job()
            lane.watch.hurry()
            await self._wait(REJUDGE_S)

    def _trace(self) -> str:
        """The job that the executor's claim, its words or the last look name for the attempt; others are cancelled."""
        lane = self._lane
        claim = claim_of(self._assignment.folder)
        look = lane.watch.look
        rows = look.named(self._attempt.job_name, self._attempt.comment) if look else []
        said = [event.fence.job for event, _ in self._early]
        jobs = [*([claim.job] if claim else []), *said, *(row.job for row in rows)]
        for surplus in {row.job for row in rows} - set(jobs[:1]):
            self._logger.warning("a second job of the attempt is cancelled", job=surplus)
            lane.canceller.cancel(surplus)
        return jobs[0] if jobs else ""

    def _adopt(self, job: str) -> None:
        """The attempt's job is this one."""
        record, lane = self.record, self._lane
        record.job, record.submitted_ms = job, lane.clock.now_ms()
        lane.ledger.keep(record)
        lane.watch.hurry_soon()
        self.say("submitted")

    # --- a job that is there ---

    async def _follow(self) -> ev.TaskFinished:
        record, lane = self.record, self._lane
        self._sight(record.job)
        while True:
            sighting = self._sighting
            assert sighting is not None
            if lane.watch.look is not None:
                sighting.take_look(lane.watch.look)
            verdict = self._judge(sighting)
            self._tell_progress(sighting, verdict)
            end = await self._act(sighting, verdict)
            if end is not None:
                return end
            if sighting.is_absent:
                for row in (await lane.watch.past([record.job])).values():
                    sighting.take_row(row)
            await self._wait(REJUDGE_S if sighting.is_over else None)

    def _sight(self, job: str) -> None:
        self._sighting = Sighting(self._lane.clock, job, self._attempt.comment, self.record.shape)
        early, self._early = self._early, []
        for event, data in early:
            self._take_word(event, data)

    def _take_word(self, event: Event, data: dict[str, object]) -> None:
        assert self._sighting is not None
        if self._sighting.take_event(event, dict(data)):
            return
        claim = claim_of(self._assignment.folder)
        if claim is not None and event.fence.job == claim.job != self._sighting.job:
            # It was submitted twice, and the other job does the work.
            self._logger.warning("another job does the attempt", job=claim.job, instead_of=self._sighting.job)
            self._lane.canceller.cancel(self._sighting.job)
            self.record.job = claim.job
            self._lane.ledger.keep(self.record)
            self._sight(claim.job)
            self._take_word(event, data)
            return
        self._logger.warning("a word of a job that does not count is put aside", file=event.file_name)
        self._lane.board.put_aside(event)

    def _judge(self, sighting: Sighting) -> Verdict:
        record, assignment = self.record, self._assignment
        evidence = sighting.evidence(
            is_ours=record.stop_reason is not None, out=assignment.log("out"), err=assignment.log("err")
        )
        shape = record.shape
        facts = JobFacts(
            job=record.job, memory_mb=shape.memory_mb if shape else 0, minutes=shape.minutes if shape else 0
        )
        verdict = judge(evidence, facts)
        if verdict.kind == "queued":
            self._needs = what_it_needs(evidence.reason) and f"{evidence.reason}: {what_it_needs(evidence.reason)}"
        return verdict

    def _tell_progress(self, sighting: Sighting, verdict: Verdict) -> None:
        record, lane = self.record, self._lane
        if verdict.warning:
            self._logger.warning(verdict.warning)
        if sighting.has_started and not record.is_started:
            record.is_started = True
            lane.report(record.order, lane.outcomes.started(record.order, record.job))
            lane.projections.note(record, "running")
        if verdict.kind == "queued" and (self._needs or verdict.word):
            self.say("queued", self._needs or verdict.word)
        elif verdict.kind in ("provisioning", "suspended"):
            self.say(verdict.kind)
        elif verdict.kind == "running" and record.told_state.startswith(("suspended", "queued requeued", "unreachable")):
            self.say("running")

    async def _act(self, sighting: Sighting, verdict: Verdict) -> ev.TaskFinished | None:
        record = self.record
        if self._doom is not None:
            if sighting.is_over:
                return await self._ended(sighting, self._doom)
            self._ask_for_its_end()
            return None
        if verdict.kind == "result":
            return await self._result(sighting, verdict)
        if verdict.kind == "ended" and not (verdict.cancel and not sighting.is_over):
            return await self._ended(sighting, verdict)
        if verdict.kind == "ended":
            self._doom = verdict
        if (verdict.kind == "ended" or record.stop_reason is not None) and not sighting.is_over:
            self._ask_for_its_end()
        return None

    def _ask_for_its_end(self) -> None:
        now = self._lane.clock.monotonic_s()
        if not self._asked_at_s or now - self._asked_at_s >= ASK_AGAIN_S:
            self._asked_at_s = now
            self._assignment.ask_for_its_end()
            self._lane.canceller.cancel(self.record.job)

    async def _result(self, sighting: Sighting, verdict: Verdict) -> ev.TaskFinished:
        """What the executor's result says, stored."""
        try:
            end = await self._assignment.keep(sighting.result or {})
        except Exception as error:
            if self._assignment.is_away(error):
                raise
            end = self._lane.outcomes.failed_by(self.record.order, error)
        return self._wishing(end, verdict)

    async def _ended(self, sighting: Sighting, verdict: Verdict) -> ev.TaskFinished:
        """What the table says; with the last words of the job's log."""
        record, lane = self.record, self._lane
        if verdict.exclude:
            lane.offenders.note(sighting.node)
        if verdict.failure == "cancelled" and record.stop_reason is not None:
            return await self._assignment.with_log(lane.outcomes.cancelled(record.order, record.stop_reason))
        reason = f"{verdict.word}: {verdict.reason}"
        end = lane.outcomes.failed(record.order, verdict.failure or "infra", reason, verdict.hint)
        if verdict.failure == "cancelled":
            end = msgspec.structs.replace(end, outcome="cancelled")
        end = await self._assignment.with_log(end)
        return self._wishing(with_bill(record.order, end, self._assignment.bill(None)), verdict)

    def _wishing(self, end: ev.TaskFinished, verdict: Verdict) -> ev.TaskFinished:
        """Note what the next attempt needs more of, and say so."""
        record, lane = self.record, self._lane
        if not verdict.more or end.outcome != "failed" or record.shape is None:
            return end
        more = (more_memory if verdict.more == "memory" else more_time)(record.shape, record.ready.spec, lane.settings.site)
        if more is None:
            return end
        known = lane.ledger.wish_of(self._attempt)
        wish = Wish(memory=more.memory or known.memory, time=more.time or known.time)
        lane.ledger.keep_wish(self._attempt, wish)
        return msgspec.structs.replace(end, hint=f"{end.hint} The next attempt asks for {more.memory or more.time}.".strip())

    # --- its end ---

    def _tell(self, end: ev.TaskFinished) -> None:
        record, lane = self.record, self._lane
        entries: list[ev.Entry] = [end]
        if end.outcome == "succeeded" and not record.is_started:
            entries.insert(0, lane.outcomes.started(record.order, record.job))
        lane.projections.finish(record, self._assignment)
        lane.report(record.order, *entries)

    async def _linger(self) -> ev.TaskFinished:
        """Until SLURM says that the job is over."""
        record, lane = self.record, self._lane
        assert record.end is not None
        if record.job:
            if self._sighting is None:
                self._sight(record.job)
            sighting = self._sighting
            assert sighting is not None
            while not sighting.is_over:
                lane.watch.hurry()
                await self._wait(None)
                if lane.watch.look is not None:
                    sighting.take_look(lane.watch.look)
            lane.gate.reopen()
        return record.end

    async def _wait(self, seconds: float | None) -> None:
        """Until there is news, or so long."""
        stop_timer = self._lane.clock.call_later(seconds, self._news.set) if seconds is not None else None
        try:
            await self._news.wait()
        finally:
            if stop_timer is not None:
                stop_timer()
        self._news.clear()
