"""One attempt from its order to its end: prepare, submit, follow, tell, and wait until its job is over.

Imports attempts, ports, proto, pto_slurm and siblings. Invariants: what the attempt's end is follows from the table of
verdicts alone; its end is on the disk before it is told; a fault of this program ends no attempt whose job may still be
there.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pto_ports.event_log import LogUnavailable
from pto_proto import events as ev
from pto_runtime.logs import get_logger
from pto_slurm.identity import attempt_of
from pto_slurm.pending import what_it_needs
from pto_slurm.shape import Unplaceable, shape_of
from pto_slurm.verdicts import JobFacts, Verdict, judge
from pto_slurm_lane.assignment import Assignment
from pto_slurm_lane.ending import Ending
from pto_slurm_lane.lane import Lane
from pto_slurm_lane.ledger import Record
from pto_slurm_lane.news import News
from pto_slurm_lane.sighting import Sighting
from pto_slurm_lane.submitter import Submitter
from pto_slurm_node.spool import BLOCKED, Event, claim_of

REJUDGE_S = 5.0
"""Time itself is evidence for jobs that have ended or are absent."""
ASK_AGAIN_S = 30.0
"""A job that is still there so long after it was cancelled is cancelled again."""
FAULT_S = 5.0
HURRIED_LOOKS = 3
"""For the end of a job that has told its result; if it takes longer, the usual interval does."""
Value = TypeVar("Value")
BACK_TO_WORK = ("suspended", "queued", "unreachable")


class JobAttempt:
    """One attempt; ``run`` is its life, the rest is news for it."""

    def __init__(self, record: Record, lane: Lane) -> None:
        self.record = record
        self._lane = lane
        self._attempt = attempt_of(record.run, record.ready)
        self._assignment = Assignment(record.order, self._attempt, lane)
        self._ending = Ending(record, self._assignment, lane)
        self._news = News(lane.clock)
        self._submitter = Submitter(record, self._attempt, self._assignment, lane, self._news, self.say)
        self._sighting: Sighting | None = None
        self._early: list[tuple[Event, dict[str, Any]]] = []
        """Words that came before the job's id was known."""
        self._needs = ""
        """Who has to do what before the job can start."""
        self._asked_at_s = 0.0
        self._old_job = record.job
        """Known from an earlier incarnation: its id may be another job's by now."""
        self._doom: Verdict | None = None
        """The end of an attempt whose job must go first."""
        self.is_told = False
        """Whether its end was reported."""
        self.is_over = False
        """Whether there is nothing more to wait for."""
        self.is_forgotten = False
        """Whether its end is in the log."""
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
                record.end = await self._persist(lambda: lane.revise(record, end))
                await self._persist(self._keep)
                await lane.tails.finish(record.order, "stdout", self._assignment.task_log)
            self._tell(_known(record.end))
            await self._persist(self._linger)
        finally:
            await lane.places.free(record.order, record.name)
        self.is_over = True

    def wake(self) -> None:
        """There was a look, or somebody wants something."""
        self._news.wake()

    def take_event(self, event: Event, data: dict[str, Any]) -> None:
        """The executor left word."""
        if self.record.end is not None:
            return
        if self._sighting is None:
            self._early.append((event, data))
            if event.kind != BLOCKED:
                self._submitter.said.append(event.fence.job)
        else:
            self._take_word(event, data)
        self._news.wake()

    def stop(self, reason: str) -> None:
        """End it, at whatever point it is."""
        if self.record.stop_reason is None:
            self.record.stop_reason = reason or "cancelled"
            try:
                self._lane.ledger.keep(self.record)
            except OSError as error:  # the log has the wish too
                self._logger.warning("the wish for its end cannot be written", reason=str(error))
        self._news.wake()
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
        while True:
            end = await (self._take_over() if record.job and record.is_early else self._begin())
            end = end or await self._follow()
            if end is not None:
                return end
            self._renounce()

    async def _persist(self, step: Callable[[], Awaitable[ev.TaskFinished]]) -> ev.TaskFinished:
        """Do the step; a fault of ours is told and tried again, because the job knows nothing of it."""
        while True:
            try:
                return await step()
            except LogUnavailable:
                pass  # what has to be stored can be stored later
            except Exception:
                self._logger.exception("a fault of the dispatcher; trying again")
                await self._lane.clock.sleep(FAULT_S)

    async def _keep(self) -> ev.TaskFinished:
        self._lane.ledger.keep(self.record)
        return _known(self.record.end)

    async def _begin(self) -> ev.TaskFinished | None:
        """Prepare and submit; an end if there will be no job."""
        record, lane = self.record, self._lane
        if record.job:
            return None
        if record.shape is None or not record.has_intent or record.is_early:
            if record.stop_reason is not None and not record.has_intent:
                return lane.outcomes.cancelled(record.order, record.stop_reason)
            try:
                record.shape = shape_of(record.ready.spec, lane.settings.site, exclude=record.ready.avoid)
                await self._assignment.prepare()
            except Unplaceable as wrong:
                return lane.outcomes.failed(record.order, "config", str(wrong))
            except LogUnavailable:
                raise
            except Exception as error:
                return lane.outcomes.failed_by(record.order, error)
        return await self._submitter.submit()

    async def _take_over(self) -> ev.TaskFinished | None:
        """Give the job that waits for its order what it waits for; an end if that cannot be given."""
        record, lane = self.record, self._lane
        if record.stop_reason is not None or claim_of(self._assignment.folder) is not None:
            return None
        try:
            await self._assignment.prepare()
        except LogUnavailable:
            raise
        except Exception as error:
            self._ask_for_its_end()
            return lane.outcomes.failed_by(record.order, error)
        self.say("submitted")
        return None

    def _may_be_void(self, sighting: Sighting) -> bool:
        """Whether the job was submitted before its order, and has ended, or must, without having begun."""
        record = self.record
        if not record.is_early or record.stop_reason is not None or sighting.has_started:
            return False
        if not sighting.is_over:
            return sighting.waits_in_vain
        claim = claim_of(self._assignment.folder)
        return claim is None or claim.job != record.job

    def _renounce(self) -> None:
        """The job did nothing: the attempt is to have another one."""
        record = self.record
        self._logger.info("the job that was submitted early did not begin; submitting another", job=record.job)
        record.void, record.job = (*record.void, record.job), ""
        record.has_intent = record.is_unsure = record.is_early = False
        self._sighting, self._asked_at_s = None, 0.0
        self._lane.ledger.keep(record)

    # --- a job that is there ---

    async def _follow(self) -> ev.TaskFinished | None:
        """Its end; None: its job is void."""
        record, lane = self.record, self._lane
        self._sight(record.job)
        while True:
            if record.is_unsure and (job := self._submitter.trace()) not in ("", record.job):
                self._go_over_to(job)
            sighting = _known(self._sighting)
            if lane.watch.look is not None:
                sighting.take_look(lane.watch.look)
            if self._may_be_void(sighting):
                if sighting.is_over:
                    await lane.board.scan()
                    if self._may_be_void(_known(self._sighting)):  # not even a word of its beginning is there
                        return None
                    continue
                self._ask_for_its_end()
                await self._news.wait(REJUDGE_S)
                continue
            verdict = self._judge(sighting)
            if verdict.kind == "ended" and sighting.result is None:
                await lane.board.scan()  # what it left counts, however slow the shared folder is
                if self._sighting is not sighting or sighting.result is not None:
                    continue
            self._tell_progress(sighting, verdict)
            end = await self._act(sighting, verdict)
            if end is not None:
                return end
            if sighting.is_absent:
                row = await lane.watch.past(record.job)
                if row is not None and row.name == self._attempt.job_name:  # ids are used again
                    sighting.take_row(row)
            await self._news.wait(REJUDGE_S if sighting.is_over else None)

    def _sight(self, job: str) -> None:
        self._sighting = Sighting(self._lane.clock, job, self._attempt.comment, self.record.shape)
        early, self._early = self._early, []
        for event, data in early:
            self._take_word(event, data)

    def _take_word(self, event: Event, data: dict[str, Any]) -> None:
        sighting = _known(self._sighting)
        if sighting.take_event(event, data):
            if event.kind == BLOCKED:
                self._lane.watch.hurry()
            return
        claim = claim_of(self._assignment.folder)
        if claim is not None and event.fence.job == claim.job != sighting.job:
            self._go_over_to(claim.job)
            self._take_word(event, data)
            return
        self._logger.warning("a word of a job that does not count is put aside", file=event.file_name)
        self._lane.board.put_aside(event)

    def _go_over_to(self, job: str) -> None:
        """It was submitted twice, and this job does the work."""
        record, lane = self.record, self._lane
        self._logger.warning("another job does the attempt", job=job, instead_of=record.job)
        lane.canceller.cancel(record.job)
        record.job = job
        lane.ledger.keep(record)
        self._sight(job)

    def _judge(self, sighting: Sighting) -> Verdict:
        record, assignment = self.record, self._assignment
        evidence = sighting.evidence(
            is_ours=record.stop_reason is not None, out=assignment.log("out"), err=assignment.log("err")
        )
        shape = record.shape
        facts = JobFacts(
            job=record.job, memory_mb=shape.memory_mb if shape else 0, minutes=shape.minutes if shape else 0
        )
        needs = what_it_needs(evidence.reason)
        self._needs = f"{evidence.reason}: {needs}" if needs else ""
        return judge(evidence, facts)

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
        elif verdict.kind == "running" and record.told_state.startswith(BACK_TO_WORK):
            self.say("running")

    async def _act(self, sighting: Sighting, verdict: Verdict) -> ev.TaskFinished | None:
        record = self.record
        if self._doom is not None and verdict.kind != "result":
            if not sighting.is_over:
                self._ask_for_its_end()
                return None
            await self._lane.board.scan()  # it may have run before it could be cancelled
            verdict = self._judge(sighting)
            if verdict.kind != "result":
                return await self._ending.by_verdict(self._doom, sighting.node)
        if verdict.kind == "result":
            return await self._ending.by_result(sighting.result or {}, verdict)
        if verdict.kind == "ended" and not (verdict.cancel and not sighting.is_over):
            return await self._ending.by_verdict(verdict, sighting.node)
        if verdict.kind == "ended":
            self._doom = verdict
        if (verdict.kind == "ended" or record.stop_reason is not None) and not sighting.is_over:
            self._ask_for_its_end()
        return None

    def _ask_for_its_end(self) -> None:
        if self.record.job == self._old_job and self._sighting is not None and not self._sighting.was_seen:
            return
        now = self._lane.clock.monotonic_s()
        if not self._asked_at_s or now - self._asked_at_s >= ASK_AGAIN_S:
            self._asked_at_s = now
            self._lane.canceller.cancel(self.record.job)

    # --- its end ---

    def _tell(self, end: ev.TaskFinished) -> None:
        record, lane = self.record, self._lane
        entries: list[ev.Entry] = [end]
        if end.outcome == "succeeded" and not record.is_started:
            entries.insert(0, lane.outcomes.started(record.order, record.job))
        lane.projections.finish(record, lane.spool)
        lane.report(record.order, *entries)
        self.is_told = True

    async def _linger(self) -> ev.TaskFinished:
        """Until SLURM says that the job is over."""
        record, lane = self.record, self._lane
        if record.job:
            if self._sighting is None:
                self._sight(record.job)
            sighting = _known(self._sighting)
            looks = 0
            while not sighting.is_over:
                if looks < HURRIED_LOOKS:
                    lane.watch.hurry()
                looks += 1
                await self._news.wait()
                if lane.watch.look is not None:
                    sighting.take_look(lane.watch.look)
            lane.gate.reopen()
        return _known(record.end)


def _known(value: Value | None) -> Value:
    if value is None:
        raise RuntimeError("a step of an attempt came before the one that it needs")
    return value
