"""The fold: how each event changes what is known, for recovery as for live news.

Imports pto_proto and siblings only. It alone changes a ``State``. Invariants: it never fails on what the log holds (an
event that does not fit poisons its run), and it ignores a fact it already knows, so that reading the same fact twice
changes nothing.
"""

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from pto_core.money import micro
from pto_core.movements import (
    IllegalEvent,
    cancel,
    close_attempt,
    enter,
    forget_retry,
    lay_out,
    move,
    schedule_retry,
    settle,
    unready,
)
from pto_core.planning import add_end, add_part, begin_edit
from pto_core.quotas import note_answer
from pto_core.reopening import fail, reopen, spread
from pto_core.state import Attempt, Instance, Run, State, Task
from pto_core.transitions import RunPhase, TaskState, TaskTrigger
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import InstanceId, Lane, RunId


def evolve(state: State, seq: int, event: Event) -> None:
    """Apply the event stored at ``seq``. An illegal entry poisons its run, of which only ends count from then on."""
    state.seq = max(state.seq, seq)
    run = state.runs.get(event.run) if event.run is not None else None
    if run is not None and run.poisoned is not None and event.kind not in _WHILE_POISONED:
        for entry in event.entries:
            if isinstance(entry, ev.AnswerEntry):
                note_answer(state, entry)
        return
    handler = _HANDLERS.get(event.kind)
    if handler is None or event.run in state.archived:
        return
    context = _Context(state, run, event, seq)
    for entry in event.entries:
        try:
            handler(context, entry)
        except IllegalEvent as error:
            poison(state, event.run, seq, str(error))
            if event.kind not in _WHILE_POISONED:
                break
    if event.run is not None:
        state.note_news(event.run)


def poison(state: State, run: RunId | None, seq: int, reason: str) -> None:
    """Quarantine the run of an event at ``seq`` that cannot be applied or read; without a run nothing is touched."""
    state.seq = max(state.seq, seq)
    known = state.runs.get(run) if run is not None else None
    if known is not None and known.poisoned is None and not known.ended:
        known.poisoned = (seq, reason)
        state.note_news(known.id)


class _Context:
    """What a handler may look at besides its entry."""

    __slots__ = ("event", "known", "seq", "state")

    def __init__(self, state: State, run: Run | None, event: Event, seq: int) -> None:
        self.state = state
        self.known = run
        self.event = event
        self.seq = seq

    @property
    def run(self) -> Run:
        if self.known is None:
            raise IllegalEvent(f"{self.event.kind.__name__} for a run that was never accepted")
        return self.known

    def task(self, entry: ev.TaskEntry) -> Task:
        task = self.run.task(entry.task)
        if task is None:
            raise IllegalEvent(f"{self.event.kind.__name__} for task {entry.task!r}, which the plan does not have")
        return task

    def current(self, entry: ev.TaskEntry) -> Task | None:
        """The task, if its attempt of this entry is the one that is out; None for an attempt that is history."""
        task = self.task(entry)
        if entry.attempt == task.attempt and entry.round == task.round:
            return task if task.is_open else None
        if (entry.round, entry.attempt) > (task.round, task.attempt):
            raise IllegalEvent(
                f"{self.event.kind.__name__} for attempt {entry.attempt} of {entry.task}, never handed out"
            )
        return None


# --- the scheduler's events ------------------------------------------------------------------------------------------


def _on_epoch(at: _Context, entry: ev.SchedulerEpochStarted) -> None:
    at.state.epoch = entry.epoch
    at.state.epoch_seq = at.seq
    at.state.now = max(at.state.now, entry.at)


def _on_accepted(at: _Context, entry: ev.RunAccepted) -> None:
    note_answer(at.state, entry)
    run_id = at.event.run
    if run_id is None or run_id in at.state.runs:
        return
    run = Run(run_id, entry.request, seq=at.seq, at=entry.at, content_digest=entry.content_digest)
    run.requester = entry.requester
    # The plan's tasks come again as TaskPlanned; keeping them twice would cost a quarter of the memory.
    run.request = msgspec.structs.replace(entry.request, plan=None)
    at.state.runs[run_id] = run
    at.state.active[run_id] = run


def _on_refused(at: _Context, entry: ev.RequestRefused) -> None:
    note_answer(at.state, entry)


def _on_settled(at: _Context, entry: ev.PlanSettled) -> None:
    note_answer(at.state, entry)
    run = at.run
    if run.settled or run.ended:
        return
    if entry.decision == "rejected":
        run.rejected = f"the plan was rejected: {entry.reason}" if entry.reason else "the plan was rejected"
        cancel(at.state, run)
        return
    plan = run.plans.get(entry.plan_digest)
    if plan is None or not plan.complete:
        raise IllegalEvent(f"plan {entry.plan_digest[:12]} was settled before it was complete")
    run.plan = plan.finished
    enter(at.state, run, RunPhase.RUNNING)
    run.settled = True
    lay_out(run, plan)


def _on_edit_accepted(at: _Context, entry: ev.PlanEditAccepted) -> None:
    note_answer(at.state, entry)
    if at.run.edit is None and not at.run.settled and not at.run.ended:
        begin_edit(at.run, entry)


def _on_reused(at: _Context, entry: ev.TaskReused) -> None:
    at.state.now = max(at.state.now, entry.at)
    run = at.run
    known = run.reused.get(entry.task)
    if not run.settled and not run.ended and (known is None or known.plan_digest != entry.plan_digest):
        run.reused[entry.task] = entry


def _on_cancelling(at: _Context, entry: ev.RunCancelling) -> None:
    note_answer(at.state, entry)
    cancel(at.state, at.run)


def _on_ready(at: _Context, entry: ev.TaskReady) -> None:
    at.state.now = max(at.state.now, entry.at)
    run = at.run
    task = at.task(entry)
    if (entry.round, entry.attempt) <= (task.round, task.attempt):
        return
    if entry.round > task.round:
        raise IllegalEvent(f"attempt of {entry.task} handed out in round {entry.round}, which was never opened")
    is_late = task.state is TaskState.SKIPPED
    if run.phase is RunPhase.CANCELLING or run.ended:
        raise IllegalEvent(f"attempt of {entry.task} handed out although the run is {run.phase.value}")
    unready(run, task)
    forget_retry(run, task)
    move(run, task, TaskTrigger.HANDED_OUT)
    task.attempt = entry.attempt
    task.instance = InstanceId(sys.intern(entry.instance))
    task.slot = entry.slot
    task.reserved = micro(entry.reserved_usd) or 0
    run.money.reserve(task.reserved)
    task.key = entry.key
    task.due_at = 0
    run.open[entry.task] = task
    if is_late:
        # Given up between the decision and this event: its dispatcher has the order, so it counts until it is stopped.
        run.unwanted[entry.task] = task
    run.last_hand_out = at.seq
    lane = at.state.lane(run.lane_of(task))
    lane.last_hand_out = at.seq
    lane.in_use[entry.instance] = lane.in_use.get(entry.instance, 0) + 1


def _on_stop_requested(at: _Context, entry: ev.AttemptStopRequested) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.current(entry)
    if task is not None:
        task.stopping = True


def _on_unknown(at: _Context, entry: ev.AttemptUnknown) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.current(entry)
    if task is not None:
        task.unknown = True


def _on_lost(at: _Context, entry: ev.AttemptLost) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.current(entry)
    if task is not None:
        at.run.lost[Attempt(entry.task, entry.round, entry.attempt)] = entry.instance
        settle(at.state, at.run, task, None)
        fail(at.state, at.run, task, "infra", entry.reason)


def _on_retry_scheduled(at: _Context, entry: ev.TaskRetryScheduled) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.task(entry)
    if task.state is TaskState.WAITING_RETRY and (entry.round, entry.attempt) == (task.round, task.attempt):
        schedule_retry(at.run, task, entry.due_at)


def _on_reopened(at: _Context, entry: ev.TaskReopened) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.task(entry)
    if entry.round > task.round and not at.run.ended:
        reopen(at.state, at.run, task, entry)


def _on_lane_paused(at: _Context, entry: ev.LanePaused) -> None:
    at.state.now = max(at.state.now, entry.at)
    if at.event.lane is not None:
        at.state.lane(at.event.lane).rest(entry.model).begin(entry.reason, entry.until, entry.at)


def _on_lane_resumed(at: _Context, entry: ev.LaneResumed) -> None:
    at.state.now = max(at.state.now, entry.at)
    if at.event.lane is not None:
        at.state.lane(at.event.lane).rest(entry.model).end()


def _on_paused(at: _Context, entry: ev.RunPaused) -> None:
    note_answer(at.state, entry)
    run = at.run
    if not run.ended:
        run.paused = entry
        if entry.kind in ("config", "budget"):
            run.halt = None


def _on_resumed(at: _Context, entry: ev.RunResumed) -> None:
    note_answer(at.state, entry)
    at.run.paused = None


def _on_budget(at: _Context, entry: ev.BudgetChanged) -> None:
    note_answer(at.state, entry)
    at.run.max_executors = entry.max_executors
    if entry.max_cost_usd is not None:
        at.run.money.limit = micro(entry.max_cost_usd)


def _on_executed(at: _Context, entry: ev.RunExecuted) -> None:
    at.state.now = max(at.state.now, entry.at)
    if at.run.phase is RunPhase.RUNNING:
        enter(at.state, at.run, RunPhase.CONSOLIDATING)


def _on_finished_run(at: _Context, entry: ev.RunFinished) -> None:
    at.state.now = max(at.state.now, entry.at)
    if (run := at.run).ended:
        return
    for task in list(run.open.values()):  # only a cancelled run has any: their ends are unconfirmed
        run.lost[Attempt(task.spec.id, task.round, task.attempt)] = task.instance or InstanceId("")
        settle(at.state, run, task, None)
        close_attempt(at.state, run, task)
        move(run, task, TaskTrigger.CANCELLED)
    enter(at.state, run, RunPhase(entry.status))
    run.finished = entry
    run.finished_seq = at.seq


def _on_archived(at: _Context, entry: ev.LogArchived) -> None:
    runs = at.state.runs
    for name in [name for name, run in runs.items() if 0 < run.finished_seq <= entry.sequence]:
        at.state.archived[name] = runs.pop(name).content_digest


# --- planner, dispatchers, consolidator ------------------------------------------------------------------------------


def _on_planned(at: _Context, entry: ev.TaskPlanned) -> None:
    if not at.run.settled and not at.run.ended:
        add_part(at.state, at.run, entry)


def _on_plan_finished(at: _Context, entry: ev.PlanFinished) -> None:
    if not at.run.settled and not at.run.ended:
        add_end(at.state, at.run, entry)


def _on_dispatcher_up(at: _Context, entry: ev.DispatcherUp) -> None:
    if at.event.lane is not None:
        instance = Instance(entry.incarnation, entry.capacity, entry.can_run)
        at.state.lane(at.event.lane).instances[entry.instance] = instance


def _on_draining(at: _Context, entry: ev.DispatcherDraining) -> None:
    instance = at.state.lane(at.event.lane or Lane("_")).instances.get(entry.instance)
    if instance is not None and instance.incarnation == entry.incarnation:
        instance.draining = True


def _on_job_state(at: _Context, entry: ev.JobStateChanged) -> None:
    task = at.current(entry)
    if task is not None:
        task.unknown = False


def _on_started(at: _Context, entry: ev.TaskStarted) -> None:
    task = at.current(entry)
    if task is not None:
        task.unknown = False
        if task.state is TaskState.READY:
            move(at.run, task, TaskTrigger.STARTED)


def _on_finished(at: _Context, entry: ev.TaskFinished) -> None:
    task = at.current(entry)
    if task is None:
        if at.run.lost:
            at.run.lost.pop(Attempt(entry.task, entry.round, entry.attempt), None)
        return
    settle(at.state, at.run, task, entry)
    if entry.outcome == "succeeded":
        task.manifest = entry.manifest
        task.tree = entry.tree
        task.failure = None
        task.reason = ""
        close_attempt(at.state, at.run, task)
        move(at.run, task, TaskTrigger.SUCCEEDED)
        spread(at.run, task)
    else:
        failure = "cancelled" if entry.outcome == "cancelled" else entry.failure or "task"
        fail(at.state, at.run, task, failure, entry.reason, entry)


def _on_consolidated(at: _Context, entry: ev.RunConsolidated) -> None:
    if at.current(entry) is not None:
        at.run.consolidated = entry


_WHILE_POISONED = frozenset(
    {
        ev.RunPaused, ev.RunCancelling, ev.TaskReady, ev.AttemptStopRequested, ev.AttemptUnknown, ev.AttemptLost,
        ev.TaskFinished, ev.RunFinished,
    }
)  # fmt: skip
"""A quarantined run can still be cancelled, and attempts that were on their way take and free their places."""
_HANDLERS: dict[type[ev.Entry], Callable[[_Context, Any], None]] = {
    ev.SchedulerEpochStarted: _on_epoch,
    ev.RunAccepted: _on_accepted,
    ev.RequestRefused: _on_refused,
    ev.PlanEditAccepted: _on_edit_accepted,
    ev.PlanSettled: _on_settled,
    ev.TaskReused: _on_reused,
    ev.RunCancelling: _on_cancelling,
    ev.TaskReady: _on_ready,
    ev.AttemptStopRequested: _on_stop_requested,
    ev.AttemptUnknown: _on_unknown,
    ev.AttemptLost: _on_lost,
    ev.TaskRetryScheduled: _on_retry_scheduled,
    ev.TaskReopened: _on_reopened,
    ev.LanePaused: _on_lane_paused,
    ev.LaneResumed: _on_lane_resumed,
    ev.RunPaused: _on_paused,
    ev.RunResumed: _on_resumed,
    ev.BudgetChanged: _on_budget,
    ev.RunExecuted: _on_executed,
    ev.RunFinished: _on_finished_run,
    ev.LogArchived: _on_archived,
    ev.TaskPlanned: _on_planned,
    ev.PlanFinished: _on_plan_finished,
    ev.DispatcherUp: _on_dispatcher_up,
    ev.DispatcherDraining: _on_draining,
    ev.JobStateChanged: _on_job_state,
    ev.TaskStarted: _on_started,
    ev.TaskFinished: _on_finished,
    ev.RunConsolidated: _on_consolidated,
}
