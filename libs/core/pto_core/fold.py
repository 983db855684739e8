"""The fold: how each event changes what is known. The only code that changes a ``State``, for recovery as for live news.

Imports pto_proto and siblings only. Invariants: it never fails on what the log holds (an event that does not fit poisons its
run), and it ignores a fact it already knows, so that reading the same fact twice changes nothing.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any

from pto_core.graph import PlanCycle, build_graph
from pto_core.limits import CAPACITY_PAUSE_MS, INFRA_RETRIES, PLAN_RETRIES
from pto_core.state import Instance, PlanParts, Run, State, Task
from pto_core.transitions import (
    DONE_STATES,
    ENDED_PHASES,
    ENDED_STATES,
    OPEN_STATES,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    RunPhase,
    TaskState,
    TaskTrigger,
)
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import MERGE_TASK, PLAN_TASK, Lane, RunId


class IllegalEvent(Exception):
    """An event does not fit what the log says so far. Never leaves this module: it becomes the run's poison."""


def evolve(state: State, seq: int, event: Event) -> None:
    """Apply the event stored at ``seq``. An illegal event poisons its run and changes nothing else of it."""
    state.seq = max(state.seq, seq)
    run = state.runs.get(event.run) if event.run is not None else None
    if run is not None and run.poisoned is not None and event.kind is not ev.RunPaused:
        return
    handler = _HANDLERS.get(event.kind)
    if handler is None:
        return
    for entry in event.entries:
        try:
            handler(_Context(state, run, event, seq), entry)
        except IllegalEvent as error:
            poison(state, event.run, seq, str(error))
            return


def poison(state: State, run: RunId | None, seq: int, reason: str) -> None:
    """Quarantine the run of an event at ``seq`` that cannot be applied or read; without a run nothing is touched."""
    state.seq = max(state.seq, seq)
    known = state.runs.get(run) if run is not None else None
    if known is not None and known.poisoned is None and not known.ended:
        known.poisoned = (seq, reason)


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
        if (entry.round, entry.attempt) > (task.round, task.attempt):
            raise IllegalEvent(f"{self.event.kind.__name__} for attempt {entry.attempt} of {entry.task}, never handed out")
        is_current = (entry.round, entry.attempt) == (task.round, task.attempt) and task.is_open
        return task if is_current else None


# --- movements -------------------------------------------------------------------------------------------------------


def _move(run: Run, task: Task, trigger: TaskTrigger) -> None:
    before = task.state
    after = TASK_TRANSITIONS.get((before, trigger))
    if after is None:
        raise IllegalEvent(f"task {task.spec.id} is {before.value}; it cannot be {trigger.value!r}")
    task.state = after
    if task.index < 0:
        return
    run.counts[before] -= 1
    run.counts[after] = run.counts.get(after, 0) + 1
    if after in ENDED_STATES:
        run.unended -= 1
    elif before in ENDED_STATES:
        run.unended += 1


def _enter(state: State, run: Run, phase: RunPhase) -> None:
    if phase not in RUN_TRANSITIONS[run.phase]:
        raise IllegalEvent(f"run {run.id} is {run.phase.value}; it cannot become {phase.value}")
    run.phase = phase
    if phase in ENDED_PHASES:
        state.active.pop(run.id, None)
        run.plans.clear()
        run.ready.clear()
        run.delayed.clear()


def _make_ready(run: Run, task: Task) -> None:
    """The task may be handed out (system tasks are found by decide itself)."""
    if task.index >= 0:
        insort(run.ready.setdefault(run.lane_of(task), []), run.graph.rank[task.index])


def _unready(run: Run, task: Task) -> None:
    if task.index < 0:
        return
    ready = run.ready.get(run.lane_of(task), [])
    rank = run.graph.rank[task.index]
    at = bisect_left(ready, rank)
    if at < len(ready) and ready[at] == rank:
        del ready[at]


def _close_attempt(state: State, run: Run, task: Task) -> None:
    """The attempt that was out is over: its slot and its place in the instance are free."""
    run.open.pop(task.spec.id, None)
    if task.instance is not None:
        in_use = state.lane(run.lane_of(task)).in_use
        in_use[task.instance] = in_use.get(task.instance, 0) - 1
    task.stopping = False


def _release_dependents(run: Run, task: Task) -> None:
    for child in run.graph.children[task.index] if task.index >= 0 else ():
        dependent = run.tasks[child]
        dependent.unmet -= 1
        if dependent.unmet == 0 and dependent.state is TaskState.PLANNED:
            _make_ready(run, dependent)


def _give_up(run: Run, task: Task) -> None:
    """The task failed for good: what depends on it, or the whole rest, never starts."""
    if task.index < 0:
        return
    everything = run.request.on_failure == "stop"
    for position in range(len(run.tasks)) if everything else run.graph.descendants(task.index):
        _drop(run, run.tasks[position], TaskTrigger.SKIPPED)


def _drop(run: Run, task: Task, trigger: TaskTrigger) -> None:
    if task.state in (TaskState.PLANNED, TaskState.WAITING_RETRY):
        _unready(run, task)
        run.delayed.pop(task.spec.id, None)
        _move(run, task, trigger)


# --- the scheduler's events ------------------------------------------------------------------------------------------


def _on_epoch(at: _Context, entry: ev.SchedulerEpochStarted) -> None:
    at.state.epoch = entry.epoch
    at.state.epoch_seq = at.seq
    at.state.now = max(at.state.now, entry.at)


def _answered(at: _Context, entry: ev.AnswerEntry) -> None:
    at.state.request_seq = max(at.state.request_seq, entry.request_seq)
    at.state.now = max(at.state.now, entry.at)


def _on_accepted(at: _Context, entry: ev.RunAccepted) -> None:
    _answered(at, entry)
    run_id = at.event.run
    if run_id is None or run_id in at.state.runs:
        return
    run = Run(run_id, entry.request, seq=at.seq, at=entry.at, content_digest=entry.content_digest)
    at.state.runs[run_id] = run
    at.state.active[run_id] = run


def _on_refused(at: _Context, entry: ev.RequestRefused) -> None:
    _answered(at, entry)


def _on_settled(at: _Context, entry: ev.PlanSettled) -> None:
    _answered(at, entry)
    run = at.run
    if run.settled or run.ended:
        return
    if entry.decision == "rejected":
        run.rejected = "the plan was rejected"
        _cancel(at, run)
        return
    plan = run.plans.get(entry.plan_digest)
    if plan is None or not plan.complete:
        raise IllegalEvent(f"plan {entry.plan_digest[:12]} was settled before it was complete")
    run.plan = plan.finished
    _enter(at.state, run, RunPhase.RUNNING)
    run.settled = True
    _lay_out(run, plan)


def _lay_out(run: Run, plan: PlanParts) -> None:
    specs = plan.tasks()
    try:
        run.graph = build_graph(specs)
    except (PlanCycle, KeyError) as error:
        raise IllegalEvent(f"the plan cannot run: {error}") from error
    run.plans.clear()
    run.tasks = [Task(spec, at, len(set(spec.depends_on))) for at, spec in enumerate(specs)]
    run.index = {spec.id: at for at, spec in enumerate(specs)}
    run.counts = {TaskState.PLANNED: len(specs)}
    run.unended = len(specs)
    for rank in run.graph.by_rank:
        task = run.tasks[rank]
        if task.unmet == 0:
            run.ready.setdefault(run.lane_of(task), []).append(run.graph.rank[rank])


def _on_cancelling(at: _Context, entry: ev.RunCancelling) -> None:
    _answered(at, entry)
    _cancel(at, at.run)


def _cancel(at: _Context, run: Run) -> None:
    if run.ended or run.phase is RunPhase.CANCELLING:
        return
    _enter(at.state, run, RunPhase.CANCELLING)
    for task in (*run.tasks, *run.system.values()):
        _drop(run, task, TaskTrigger.CANCELLED)


def _on_ready(at: _Context, entry: ev.TaskReady) -> None:
    at.state.now = max(at.state.now, entry.at)
    run = at.run
    task = at.task(entry)
    if (entry.round, entry.attempt) <= (task.round, task.attempt):
        return
    if run.phase is RunPhase.CANCELLING or run.ended:
        raise IllegalEvent(f"attempt of {entry.task} handed out although the run is {run.phase.value}")
    _unready(run, task)
    run.delayed.pop(entry.task, None)
    _move(run, task, TaskTrigger.HANDED_OUT)
    task.attempt = entry.attempt
    task.round = entry.round
    task.instance = entry.instance
    task.slot = entry.slot
    task.key = entry.key
    task.due_at = 0
    run.open[entry.task] = task
    run.last_hand_out = at.seq
    in_use = at.state.lane(run.lane_of(task)).in_use
    in_use[entry.instance] = in_use.get(entry.instance, 0) + 1


def _on_stop_requested(at: _Context, entry: ev.AttemptStopRequested) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.current(entry)
    if task is not None:
        task.stopping = True


def _on_lost(at: _Context, entry: ev.AttemptLost) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.current(entry)
    if task is not None:
        _fail(at, task, "infra", entry.reason)


def _on_retry_scheduled(at: _Context, entry: ev.TaskRetryScheduled) -> None:
    at.state.now = max(at.state.now, entry.at)
    task = at.task(entry)
    if task.state is TaskState.WAITING_RETRY and (entry.round, entry.attempt) == (task.round, task.attempt):
        task.due_at = entry.due_at
        task.retry_known = True


def _on_lane_paused(at: _Context, entry: ev.LanePaused) -> None:
    at.state.now = max(at.state.now, entry.at)
    if at.event.lane is not None:
        lane = at.state.lane(at.event.lane)
        lane.paused_until = entry.until
        lane.pause_reason = entry.reason
        lane.short_of = ""


def _on_lane_resumed(at: _Context, entry: ev.LaneResumed) -> None:
    at.state.now = max(at.state.now, entry.at)
    if at.event.lane is not None:
        at.state.lane(at.event.lane).paused_until = None


def _on_paused(at: _Context, entry: ev.RunPaused) -> None:
    _answered(at, entry)
    run = at.run
    if not run.ended:
        run.paused = entry
        run.halt = None


def _on_resumed(at: _Context, entry: ev.RunResumed) -> None:
    _answered(at, entry)
    at.run.paused = None


def _on_budget(at: _Context, entry: ev.BudgetChanged) -> None:
    _answered(at, entry)
    at.run.max_executors = entry.max_executors


def _on_executed(at: _Context, entry: ev.RunExecuted) -> None:
    at.state.now = max(at.state.now, entry.at)
    if at.run.phase is RunPhase.RUNNING:
        _enter(at.state, at.run, RunPhase.CONSOLIDATING)


def _on_finished_run(at: _Context, entry: ev.RunFinished) -> None:
    at.state.now = max(at.state.now, entry.at)
    run = at.run
    if run.ended:
        return
    _enter(at.state, run, RunPhase(entry.status))
    run.finished = entry


# --- planner, dispatchers, consolidator ------------------------------------------------------------------------------


def _on_planned(at: _Context, entry: ev.TaskPlanned) -> None:
    if not at.run.settled and not at.run.ended:
        at.run.plans.setdefault(entry.plan_digest, PlanParts()).parts[entry.part] = entry.tasks
        _first_complete(at.run, entry.plan_digest)


def _on_plan_finished(at: _Context, entry: ev.PlanFinished) -> None:
    if not at.run.settled and not at.run.ended:
        at.run.plans.setdefault(entry.plan_digest, PlanParts()).finished = entry
        _first_complete(at.run, entry.plan_digest)


def _first_complete(run: Run, digest: ev.Digest) -> None:
    plan = run.plans[digest]
    if run.plan is None and plan.complete:
        run.plan = plan.finished


def _on_dispatcher_up(at: _Context, entry: ev.DispatcherUp) -> None:
    if at.event.lane is not None:
        instance = Instance(entry.incarnation, entry.capacity, entry.can_run)
        at.state.lane(at.event.lane).instances[entry.instance] = instance


def _on_draining(at: _Context, entry: ev.DispatcherDraining) -> None:
    instance = at.state.lane(at.event.lane or Lane("_")).instances.get(entry.instance)
    if instance is not None and instance.incarnation == entry.incarnation:
        instance.draining = True


def _on_started(at: _Context, entry: ev.TaskStarted) -> None:
    task = at.current(entry)
    if task is not None and task.state is TaskState.READY:
        _move(at.run, task, TaskTrigger.STARTED)


def _on_finished(at: _Context, entry: ev.TaskFinished) -> None:
    task = at.current(entry)
    if task is None:
        return
    if entry.outcome == "succeeded":
        task.manifest = entry.manifest
        task.tree = entry.tree
        task.failure = None
        task.reason = ""
        _close_attempt(at.state, at.run, task)
        _move(at.run, task, TaskTrigger.SUCCEEDED)
        _release_dependents(at.run, task)
    else:
        _fail(at, task, "cancelled" if entry.outcome == "cancelled" else entry.failure or "task", entry.reason)


def _fail(at: _Context, task: Task, failure: ev.FailureClass, reason: str) -> None:
    run = at.run
    _close_attempt(at.state, run, task)
    task.failure = failure
    task.reason = reason
    if run.phase is RunPhase.CANCELLING or failure == "cancelled":
        _move(run, task, TaskTrigger.CANCELLED)
        _give_up(run, task)
        return
    task.burned += failure in ("task", "timeout")
    task.infra += failure == "infra"
    if task.burned > _retries(run, task) or task.infra > INFRA_RETRIES:
        _move(run, task, TaskTrigger.FAILED)
        _give_up(run, task)
        return
    _move(run, task, TaskTrigger.FAILED_AGAIN)
    run.delayed[task.spec.id] = task
    task.retry_known = False
    if failure == "capacity":
        at.state.lane(run.lane_of(task)).short_of = reason or "no capacity"
    elif failure in ("config", "budget"):
        run.halt = (failure, reason)


def _retries(run: Run, task: Task) -> int:
    if task.index < 0:
        return PLAN_RETRIES
    return run.request.max_retries if task.spec.retries is None else task.spec.retries


def _on_consolidated(at: _Context, entry: ev.RunConsolidated) -> None:
    if at.current(entry) is not None:
        at.run.consolidated = entry


_HANDLERS: dict[type[ev.Entry], Callable[[_Context, Any], None]] = {
    ev.SchedulerEpochStarted: _on_epoch,
    ev.RunAccepted: _on_accepted,
    ev.RequestRefused: _on_refused,
    ev.PlanSettled: _on_settled,
    ev.RunCancelling: _on_cancelling,
    ev.TaskReady: _on_ready,
    ev.AttemptStopRequested: _on_stop_requested,
    ev.AttemptLost: _on_lost,
    ev.TaskRetryScheduled: _on_retry_scheduled,
    ev.LanePaused: _on_lane_paused,
    ev.LaneResumed: _on_lane_resumed,
    ev.RunPaused: _on_paused,
    ev.RunResumed: _on_resumed,
    ev.BudgetChanged: _on_budget,
    ev.RunExecuted: _on_executed,
    ev.RunFinished: _on_finished_run,
    ev.TaskPlanned: _on_planned,
    ev.PlanFinished: _on_plan_finished,
    ev.DispatcherUp: _on_dispatcher_up,
    ev.DispatcherDraining: _on_draining,
    ev.TaskStarted: _on_started,
    ev.TaskFinished: _on_finished,
    ev.RunConsolidated: _on_consolidated,
}
