"""What the log says, read anew by rules of its own: a small fold that shares nothing with the product's.

Invariant: it looks at the first copy of every fact only, in log order; each broken promise becomes one sentence.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId

from .handing_out import check_task, least_wait
from .placing import check_place
from .reviews import Reviews
from .rounds import check_round, skip, spread
from .spending import (
    LONGEST_WAIT_MS,
    MILLION,
    Wait,
    bill_of,
    check_money,
    check_scopes,
    check_waits,
    model_of,
)
from .stories import INFRA_BOUND, Attempt, Name, RunStory, TaskStory


class Judge:
    """Feed it every stored event, in order, with how far its writer had read."""

    def __init__(self, complain: Callable[[str], None], reviews: Reviews) -> None:
        self.complain = complain
        self.reviews = reviews
        self.runs: dict[RunId, RunStory] = {}
        self.epoch: tuple[int, str] = (0, "")
        self.instances: dict[tuple[Lane, InstanceId], list[tuple[int, str, int]]] = defaultdict(list)
        """(sequence, incarnation, capacity) of each announcement."""
        self.lanes_paused: dict[tuple[Lane, str], int] = {}
        """(lane, model or nothing) -> until when it rests."""
        self.waits: list[Wait] = []
        self.now = 0
        """The latest time that a scheduler recorded."""
        self.attempts: dict[Name, Attempt] = {}
        self.answers: dict[int, ev.AnswerEntry] = {}
        self.refused: set[RunId] = set()
        """Runs that were asked for and refused."""
        self.seen: set[str] = set()

    def apply(self, seq: int, event: Event, writer_read: int) -> None:
        """One stored event; a copy of one that is known changes nothing."""
        copy = f"{event.source} {event.id}"
        if copy in self.seen:
            return
        self.seen.add(copy)
        if event.source.startswith("scheduler/"):
            self._check_epoch(seq, event)
            self.now = max(self.now, *(entry.at for entry in event.entries))
        handler = _HANDLERS.get(event.kind)
        for entry in event.entries:
            if isinstance(entry, ev.AnswerEntry) and entry.request_seq:
                self._check_answer(seq, entry)
            if handler is not None:
                handler(self, seq, event, entry, writer_read)

    def run_of(self, seq: int, event: Event) -> RunStory | None:
        story = self.runs.get(event.run) if event.run is not None else None
        if story is None:
            self.complain(f"promise 1: {event.kind.__name__} at {seq} for {event.run}, which was never accepted")
        return story

    def _check_epoch(self, seq: int, event: Event) -> None:
        epoch = int(event.id.split(".")[0])
        if event.kind is ev.SchedulerEpochStarted:
            entry = event.entries[0]
            if entry.epoch <= self.epoch[0]:
                self.complain(f"promise 8: epoch {entry.epoch} at {seq} begins after epoch {self.epoch[0]}")
            self.epoch = (entry.epoch, event.source)
        elif (epoch, event.source) != self.epoch:
            self.complain(f"promise 8: {event.kind.__name__} {event.id} of {event.source} at {seq} in {self.epoch}")

    def _check_answer(self, seq: int, entry: ev.AnswerEntry) -> None:
        if entry.request_seq in self.answers:
            self.complain(f"promise 1: request {entry.request_seq} is answered again at {seq}")
        self.answers[entry.request_seq] = entry

    # --- runs ---

    def on_accepted(self, seq: int, event: Event, entry: ev.RunAccepted, writer_read: int) -> None:
        assert event.run is not None
        if event.run in self.runs:
            self.complain(f"promise 1: {event.run} is accepted again at {seq}")
            return
        usd = entry.request.max_cost_usd
        limit = None if usd is None else round(usd * MILLION)
        self.runs[event.run] = RunStory(event.run, entry.request, seq, entry.request.max_executors, limit)

    def on_planned(self, seq: int, event: Event, entry: ev.TaskPlanned, writer_read: int) -> None:
        if run := self.run_of(seq, event):
            run.planned.setdefault(entry.plan_digest, {}).setdefault(entry.part, entry.tasks)
            self._note_complete(run, entry.plan_digest)

    def on_plan_finished(self, seq: int, event: Event, entry: ev.PlanFinished, writer_read: int) -> None:
        if run := self.run_of(seq, event):
            run.ends.setdefault(entry.plan_digest, (entry.task, entry.parts))
            self._note_complete(run, entry.plan_digest)

    def _note_complete(self, run: RunStory, digest: Digest) -> None:
        """Parts and end may come in any order."""
        task, parts = run.ends.get(digest, ("", 0))
        if task == "_plan" and len(run.planned.get(digest, ())) == parts and digest not in run.plans:
            run.plans.append(digest)

    def on_edit_accepted(self, seq: int, event: Event, entry: ev.PlanEditAccepted, writer_read: int) -> None:
        if run := self.run_of(seq, event):
            self._must_go_on(run, seq, event)
            self.reviews.take_edit(run, seq, entry)

    def on_reused(self, seq: int, event: Event, entry: ev.TaskReused, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None:
            return
        self._must_go_on(run, seq, event)
        source = self.runs.get(RunId(entry.source_run))
        story = source.tasks.get(entry.source_task) if source is not None else None
        if story is None or story.state != "succeeded":
            what = f"{entry.task} of {run.run} takes over {entry.source_task} of {entry.source_run} at {seq}"
            self.complain(f"promise 9: {what}, which did not succeed")
        if not run.settled_seq:
            run.reused[entry.plan_digest, entry.task] = entry.tree

    def on_refused(self, seq: int, event: Event, entry: ev.RequestRefused, writer_read: int) -> None:
        if event.run is not None and entry.kind == "run-requested":
            self.refused.add(event.run)

    def on_settled(self, seq: int, event: Event, entry: ev.PlanSettled, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None:
            return
        self.reviews.check_settled(run, seq, entry)
        if entry.decision == "rejected":
            self.on_cancelling(seq, event, entry, writer_read)
            return
        self._must_go_on(run, seq, event)
        if run.settled_seq:
            self.complain(f"promise 6: the plan of {run.run} is settled again at {seq}")
            return
        run.settled_seq = seq
        for part in sorted(run.planned.get(entry.plan_digest, {})):
            for spec in run.planned[entry.plan_digest][part]:
                tree = run.reused.get((entry.plan_digest, spec.id))
                run.tasks[spec.id] = TaskStory(spec, state="" if tree is None else "reused", tree=tree or "")
                run.order.append(spec.id)
        for name in run.order:
            run.tasks[name].saw = run.sees(name)

    def on_paused(self, seq: int, event: Event, entry: ev.RunPaused, writer_read: int) -> None:
        if run := self.run_of(seq, event):
            self._must_go_on(run, seq, event)
            if run.paused == entry.kind != "asked":
                self.complain(f"promise 11: {run.run} pauses again at {seq}, although it is paused ({entry.kind})")
            run.paused = entry.kind
            run.is_poisoned = run.is_poisoned or entry.kind == "poisoned"

    def on_resumed(self, seq: int, event: Event, entry: ev.RunResumed, writer_read: int) -> None:
        if run := self.run_of(seq, event):
            self._must_go_on(run, seq, event)
            run.paused = ""

    def on_budget(self, seq: int, event: Event, entry: ev.BudgetChanged, writer_read: int) -> None:
        if run := self.run_of(seq, event):
            self._must_go_on(run, seq, event)
            run.executors = entry.max_executors
            if entry.max_cost_usd is not None:
                run.limit = round(entry.max_cost_usd * MILLION)

    def on_cancelling(self, seq: int, event: Event, entry: Any, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None:
            return
        self._must_go_on(run, seq, event)
        if run.cancelling_seq:
            return
        run.cancelling_seq = seq
        for name in run.order:
            story = run.tasks[name]
            if not story.state and not (story.attempts and not story.attempts[-1].end_seq):
                story.state = "cancelled"

    def on_executed(self, seq: int, event: Event, entry: ev.RunExecuted, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None:
            return
        self._must_go_on(run, seq, event)
        run.executed_seq = seq
        if left := [name for name in run.order if not run.tasks[name].state]:
            self.complain(f"promise 5: {run.run} is executed at {seq}, but {left} have not ended")
        if out := run.out():
            self.complain(f"promise 5: {run.run} is executed at {seq}, but {out} are out")

    def on_finished_run(self, seq: int, event: Event, entry: ev.RunFinished, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None:
            return
        self._must_go_on(run, seq, event)
        run.finished, run.finished_seq = entry, seq
        if (left := run.may_reopen()) is not None:
            self.complain(f"promise 13: {run.run} ends at {seq}, although {left} is to be reopened")
        unconfirmed = {attempt.label for attempt in run.out()}
        if missing := unconfirmed - {*entry.unconfirmed}:
            self.complain(f"promise 3: {run.run} ends at {seq} and says nothing of {sorted(missing)}, which are out")
        if unconfirmed and not run.cancelling_seq:
            self.complain(f"promise 6: {run.run} ends at {seq} while {sorted(unconfirmed)} are out")
        run.give_up(seq)
        for name in run.order:
            run.tasks[name].state = run.tasks[name].state or "cancelled"

    def on_consolidated(self, seq: int, event: Event, entry: ev.RunConsolidated, writer_read: int) -> None:
        attempt = self.attempt_of(event, entry)
        if attempt is not None and not attempt.end_seq:
            self.runs[attempt.name[0]].merged = entry

    def on_reopened(self, seq: int, event: Event, entry: ev.TaskReopened, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None:
            return
        self._must_go_on(run, seq, event)
        story, what = run.story(entry.task), f"round {entry.round} of {entry.task} of {run.run} begins at {seq}"
        if run.may_reopen() != entry.task:
            self.complain(f"promise 13: {what}, but no merged tree asks for that")
        if entry.round != story.round + 1:
            self.complain(f"promise 13: {what} after round {story.round}")
        for again in (story, run.story(TaskId("_merge"))):
            again.begin_again()
            again.round += 1
        story.evidence = entry.evidence
        run.culprit, run.merged, run.executed_seq = entry.task, None, 0

    def _must_go_on(self, run: RunStory, seq: int, event: Event) -> None:
        if run.finished_seq:
            self.complain(f"promise 6: {event.kind.__name__} at {seq}, but {run.run} ended at {run.finished_seq}")

    # --- lanes ---

    def on_up(self, seq: int, event: Event, entry: ev.DispatcherUp, writer_read: int) -> None:
        assert event.lane is not None
        self.instances[event.lane, entry.instance].append((seq, entry.incarnation, entry.capacity))

    def on_lane_paused(self, seq: int, event: Event, entry: ev.LanePaused, writer_read: int) -> None:
        assert event.lane is not None
        self.lanes_paused[event.lane, entry.model] = entry.until

    def on_lane_resumed(self, seq: int, event: Event, entry: ev.LaneResumed, writer_read: int) -> None:
        assert event.lane is not None
        until = self.lanes_paused.pop((event.lane, entry.model), 0)
        if entry.at < until:
            self.complain(f"promise 11: lane {event.lane} goes on at {seq}, {until - entry.at} ms too early")

    # --- attempts ---

    def on_ready(self, seq: int, event: Event, entry: ev.TaskReady, writer_read: int) -> None:
        run = self.run_of(seq, event)
        if run is None or event.lane is None:
            return
        name = (run.run, entry.task, entry.round, entry.attempt)
        what = f"{entry.task}.{entry.attempt} of {run.run} is handed out at {seq}"
        if name in self.attempts:
            self.complain(f"promise 2: {what} again")
            return
        if run.cancelling_seq or run.finished_seq:
            self.complain(f"promise 4: {what}, after the run was given up at {run.cancelling_seq or run.finished_seq}")
        if run.paused:
            self.complain(f"promise 4: {what}, but the run is paused ({run.paused})")
        model = model_of(run, entry)
        for name_of_rest in {"", model}:
            if (event.lane, name_of_rest) in self.lanes_paused:
                self.complain(f"promise 11: {what}, but {name_of_rest or 'everything'} rests in lane {event.lane}")
        for broken in check_task(run, entry, what):
            self.complain(broken)
        for broken in check_round(run, entry):
            self.complain(f"promise 13: {what} {broken}")
        reserved = round(entry.reserved_usd * MILLION)
        attempt = Attempt(name, event.lane, entry.instance, seq, entry.at, model=model, reserved=reserved)
        for violation in check_scopes(run, entry, what):
            self.complain(violation)
        self.attempts[name] = attempt
        run.story(entry.task).attempts.append(attempt)
        self._check_room(run, attempt, writer_read, what)
        for check in (
            check_money(run, attempt, writer_read, what),
            check_waits(self.waits, attempt, writer_read, what),
            check_place(run, entry, event.lane, writer_read, what),
        ):
            for violation in check:
                self.complain(violation)

    def _check_room(self, run: RunStory, attempt: Attempt, writer_read: int, what: str) -> None:
        out = len(run.out())
        if out > run.executors:
            self.complain(f"promise 3: {what}: {out} attempts are out, {run.executors} are allowed")
        slots = [a for a in self.attempts.values() if a.lane == attempt.lane and a.instance == attempt.instance]
        taken = sum(1 for a in slots if not a.end_seq)
        known = [capacity for at, _, capacity in self.instances[attempt.lane, attempt.instance] if at <= writer_read]
        if not known:
            self.complain(f"promise 3: {what} to {attempt.instance}, of which its writer had not read")
        elif taken > known[-1]:
            self.complain(f"promise 3: {what}: {attempt.instance} has {taken} attempts, it announced {known[-1]}")

    def on_stop(self, seq: int, event: Event, entry: ev.AttemptStopRequested, writer_read: int) -> None:
        attempt = self.attempt_of(event, entry)
        if attempt is not None:
            attempt.stop_seq = attempt.stop_seq or seq

    def on_retry(self, seq: int, event: Event, entry: ev.TaskRetryScheduled, writer_read: int) -> None:
        attempt = self.attempt_of(event, entry)
        if attempt is None or not attempt.end_seq or attempt.outcome == "succeeded":
            self.complain(f"promise 10: a retry of {entry.task}.{entry.attempt} at {seq}, which did not fail")
            return
        attempt.retry_due = entry.due_at
        least = least_wait(self.runs[attempt.name[0]], attempt)
        if entry.due_at - entry.at < least:
            self.complain(f"promise 11: {entry.task}.{entry.attempt} at {seq} is due in {entry.due_at - entry.at} ms")

    def on_lost(self, seq: int, event: Event, entry: ev.AttemptLost, writer_read: int) -> None:
        attempt = self.attempt_of(event, entry)
        if attempt is None:
            self.complain(f"promise 6: {entry.task}.{entry.attempt} is lost at {seq}, but was never handed out")
        elif not attempt.end_seq:
            self._end(attempt, seq, "lost", "infra", is_own=False)

    def on_finished(self, seq: int, event: Event, entry: ev.TaskFinished, writer_read: int) -> None:
        attempt = self.attempt_of(event, entry)
        if attempt is not None and not attempt.end_seq and not self.runs[attempt.name[0]].finished_seq:
            failure = "cancelled" if entry.outcome == "cancelled" else entry.failure or ""
            if "a fault of" in entry.reason:
                self.complain(f"a service failed: {entry.reason}")
            attempt.cost, attempt.again, attempt.node = bill_of(entry), entry.again, entry.node
            if failure == "capacity" and entry.retry_after_s:
                wait_ms = min(LONGEST_WAIT_MS, round(entry.retry_after_s * 1000))
                self.waits.append(Wait(seq, attempt.lane, attempt.model, self.now + wait_ms))
            self._end(attempt, seq, entry.outcome, failure, is_own=entry.reason.startswith("executor"))
            if entry.outcome == "succeeded":
                spread(self.runs[attempt.name[0]], attempt.name[1], entry.tree)

    def attempt_of(self, event: Event, entry: ev.TaskEntry) -> Attempt | None:
        return self.attempts.get((event.run or RunId(""), entry.task, entry.round, entry.attempt))

    def _end(self, attempt: Attempt, seq: int, outcome: str, failure: str, *, is_own: bool) -> None:
        run = self.runs[attempt.name[0]]
        task = attempt.name[1]
        story = run.story(task)
        attempt.end_seq, attempt.outcome, attempt.failure, attempt.is_own = seq, outcome, failure, is_own
        was_skipped = story.state == "skipped"
        if outcome == "succeeded":
            story.state = "succeeded"
            return
        if run.cancelling_seq or failure == "cancelled" or was_skipped:
            story.state = "cancelled"
        elif (
            (run.is_stopped and story.spec is not None)
            or story.failures("task", "timeout") > run.retries(task)
            or story.failures("infra") > INFRA_BOUND
        ):
            story.state = "failed"
        if story.state and story.spec is not None and not run.cancelling_seq:
            skip(run, task)


_HANDLERS: dict[type[ev.Entry], Callable[[Judge, int, Event, Any, int], None]] = {
    ev.RunAccepted: Judge.on_accepted,
    ev.TaskPlanned: Judge.on_planned,
    ev.PlanFinished: Judge.on_plan_finished,
    ev.TaskReused: Judge.on_reused,
    ev.RequestRefused: Judge.on_refused,
    ev.PlanEditAccepted: Judge.on_edit_accepted,
    ev.PlanSettled: Judge.on_settled,
    ev.RunPaused: Judge.on_paused,
    ev.RunResumed: Judge.on_resumed,
    ev.BudgetChanged: Judge.on_budget,
    ev.RunCancelling: Judge.on_cancelling,
    ev.RunExecuted: Judge.on_executed,
    ev.RunFinished: Judge.on_finished_run,
    ev.RunConsolidated: Judge.on_consolidated,
    ev.TaskReopened: Judge.on_reopened,
    ev.DispatcherUp: Judge.on_up,
    ev.LanePaused: Judge.on_lane_paused,
    ev.LaneResumed: Judge.on_lane_resumed,
    ev.TaskReady: Judge.on_ready,
    ev.AttemptStopRequested: Judge.on_stop,
    ev.TaskRetryScheduled: Judge.on_retry,
    ev.AttemptLost: Judge.on_lost,
    ev.TaskFinished: Judge.on_finished,
}
