"""How a run and its tasks move: the steps that the fold's handlers are made of.

Imports pto_proto and siblings only. Invariant: every change of a task's state and of a run's phase goes through
``move`` and ``enter``, so that nothing happens that the tables do not allow.
"""

import sys
from bisect import bisect_left, insort

from pto_core.failures import HINTS
from pto_core.graph import PlanCycle, build_graph, unmet_at_first
from pto_core.limits import INFRA_RETRIES, PLAN_RETRIES
from pto_core.money import micro
from pto_core.nodes import Nodes
from pto_core.state import PlanParts, Run, State, Task
from pto_core.transitions import (
    ENDED_PHASES,
    ENDED_STATES,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    RunPhase,
    TaskState,
    TaskTrigger,
)
from pto_proto.events import FailureClass, TaskFinished
from pto_proto.ids import EDIT_TASK, NO_DIGEST, PLAN_TASK, Digest

MANY_RELEASED = 64
"""From here on, sorting once is cheaper than inserting each at its place."""


class IllegalEvent(Exception):
    """An event does not fit what the log says so far. The fold turns it into the run's poison."""


def move(run: Run, task: Task, trigger: TaskTrigger) -> None:
    """Change a task's state by the table and keep the run's counts. Raises IllegalEvent."""
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


def enter(state: State, run: Run, phase: RunPhase) -> None:
    """Change a run's phase by the table; an ended run forgets what only a running one needs. Raises IllegalEvent."""
    if phase not in RUN_TRANSITIONS[run.phase]:
        raise IllegalEvent(f"run {run.id} is {run.phase.value}; it cannot become {phase.value}")
    run.phase = phase
    if phase in ENDED_PHASES:
        state.active.pop(run.id, None)
        run.plans.clear()
        run.ready.clear()
        run.unscheduled.clear()
        run.due.clear()
        run.revoked.clear()
        run.review.clear()
        run.nodes = Nodes()


def make_ready(run: Run, task: Task) -> None:
    """The task may be handed out (system tasks are found by decide itself)."""
    if task.index >= 0:
        insort(run.ready.setdefault(run.lane_of(task), []), run.graph.rank[task.index])


def unready(run: Run, task: Task) -> None:
    """The task may not be handed out any more."""
    if task.index < 0:
        return
    ready = run.ready.get(run.lane_of(task), [])
    rank = run.graph.rank[task.index]
    at = bisect_left(ready, rank)
    if at < len(ready) and ready[at] == rank:
        del ready[at]


def schedule_retry(run: Run, task: Task, due_at: int) -> None:
    """The next attempt of a task in waiting-retry is due then (Unix ms)."""
    forget_retry(run, task)
    task.due_at = due_at
    insort(run.due, (due_at, task.spec.id))


def forget_retry(run: Run, task: Task) -> None:
    """The task waits for no retry any more."""
    run.unscheduled.pop(task.spec.id, None)
    if run.due:
        at = bisect_left(run.due, (task.due_at, task.spec.id))
        if at < len(run.due) and run.due[at][1] == task.spec.id:
            del run.due[at]


def close_attempt(state: State, run: Run, task: Task) -> None:
    """The attempt that was out is over: its slot and its place in the instance are free."""
    run.open.pop(task.spec.id, None)
    run.unwanted.pop(task.spec.id, None)
    if task.instance is not None:
        in_use = state.lane(run.lane_of(task)).in_use
        in_use[task.instance] = in_use.get(task.instance, 0) - 1
    task.stopping = False
    task.unknown = False


def settle(state: State, run: Run, task: Task, ended: TaskFinished | None) -> None:
    """The attempt that is out is over, by its end or given up (None): what was set aside for it is free or spent.

    Call it before ``close_attempt``. An end that tells more than that nothing could be asked also tells that the
    model, or the lane, takes attempts again; a failure may tell what the next attempt needs, and where it had better
    not run.
    """
    reserved, task.reserved = task.reserved, 0
    if ended is None:
        run.money.settle(reserved, None if reserved else 0)
        return
    cost = micro(ended.cost_usd)
    run.money.settle(reserved, cost)
    model = run.model_of(task)
    if model:
        run.money.learn("agent" if task.index >= 0 else "plan", cost, ended.outcome, ended.failure)
    rest = state.lane(run.lane_of(task)).rests.get(model)
    if rest is not None and (ended.outcome == "succeeded" or ended.failure in ("task", "timeout")):
        rest.in_a_row = 0
    task.again = None if ended.outcome == "succeeded" else ended.again or task.again
    if ended.failure == "infra" and ended.node:
        run.nodes.note(run.lane_of(task), ended.node)


def release_dependents(run: Run, task: Task) -> None:
    """The task is done: what waited only for it may be handed out."""
    released = []
    for child in run.graph.children[task.index] if task.index >= 0 else ():
        dependent = run.tasks[child]
        dependent.unmet -= 1
        if dependent.unmet == 0 and dependent.state is TaskState.PLANNED:
            released.append(dependent)
    if len(released) < MANY_RELEASED:
        for dependent in released:
            make_ready(run, dependent)
        return
    for dependent in released:
        run.ready.setdefault(run.lane_of(dependent), []).append(run.graph.rank[dependent.index])
    for ready in run.ready.values():
        ready.sort()  # mostly in order already, which costs this sort no more than a look at each


def give_up(run: Run, task: Task) -> None:
    """The task failed for good: what depends on it, or the whole rest, never starts."""
    if task.index < 0 or run.phase is RunPhase.CANCELLING or run.stopped:
        return
    if run.request.on_failure == "stop":
        run.stopped = True
        for other in run.tasks:
            drop(run, other, TaskTrigger.SKIPPED)
        return
    waiting = list(run.graph.children[task.index])
    while waiting:
        below = run.tasks[waiting.pop()]
        # What has ended already took its own descendants with it, so that all failures together cost one walk.
        if below.state in (TaskState.PLANNED, TaskState.WAITING_RETRY):
            drop(run, below, TaskTrigger.SKIPPED)
            waiting.extend(run.graph.children[below.index])


def drop(run: Run, task: Task, trigger: TaskTrigger) -> None:
    """End a task that has no attempt out, by this trigger; others are left alone."""
    if task.state in (TaskState.PLANNED, TaskState.WAITING_RETRY):
        unready(run, task)
        forget_retry(run, task)
        move(run, task, trigger)


def lay_out(run: Run, plan: PlanParts) -> None:
    """Make the run's tasks and graph from its complete plan. Raises IllegalEvent if they do not fit."""
    specs = plan.tasks()
    try:
        run.graph = build_graph(specs)
    except (PlanCycle, KeyError) as error:
        raise IllegalEvent(f"the plan cannot run: {error}") from error
    run.plans.clear()
    for name in (PLAN_TASK, EDIT_TASK):
        if name in run.system:
            drop(run, run.system[name], TaskTrigger.CANCELLED)
    run.tasks = [Task(spec, at, unmet_at_first(spec)) for at, spec in enumerate(specs)]
    run.has_only_agents = all(spec.agent for spec in specs)
    run.index = {spec.id: at for at, spec in enumerate(specs)}
    run.counts = {TaskState.PLANNED: len(specs)}
    run.unended = len(specs)
    for task, seen in zip(run.tasks, plan.seen_inputs(), strict=False):
        task.inputs = Digest(sys.intern(seen))
    _take_over(run)
    for rank in run.graph.by_rank:
        task = run.tasks[rank]
        if task.unmet == 0 and task.state is TaskState.PLANNED:
            run.ready.setdefault(run.lane_of(task), []).append(run.graph.rank[rank])


def _take_over(run: Run) -> None:
    """End the tasks whose outputs come from earlier runs."""
    digest = run.plan.plan_digest if run.plan is not None else NO_DIGEST
    run.reused = {name: entry for name, entry in run.reused.items() if entry.plan_digest == digest}
    for name, entry in run.reused.items():
        if name not in run.index:
            raise IllegalEvent(f"task {name} is reused, but the plan does not have it")
        task = run.tasks[run.index[name]]
        task.key, task.manifest, task.tree = entry.key, entry.manifest, entry.tree
        move(run, task, TaskTrigger.REUSED)
        for child in run.graph.children[task.index]:
            run.tasks[child].unmet -= 1


def cancel(state: State, run: Run) -> None:
    """No attempt of the run starts any more; those that are out still have to end."""
    if run.ended or run.phase is RunPhase.CANCELLING:
        return
    enter(state, run, RunPhase.CANCELLING)
    for task in (*run.tasks, *run.system.values()):
        drop(run, task, TaskTrigger.CANCELLED)


def _is_superfluous(run: Run, task: Task) -> bool:
    """Whether the plan is there that this task is to make: it may come from an attempt that was given up meanwhile."""
    made_by = run.plan.task if run.plan is not None else None
    if task.spec.id == PLAN_TASK:
        return made_by is not None
    return task.spec.id == EDIT_TASK and (made_by == EDIT_TASK or run.settled)


def fail(
    state: State, run: Run, task: Task, failure: FailureClass, reason: str, ended: TaskFinished | None = None
) -> None:
    """The current attempt ended without success (``ended`` says how, if it was not given up): decide by its class
    whether another one follows.
    """
    is_unwanted = task.spec.id in run.unwanted
    close_attempt(state, run, task)
    if failure == "capacity":
        state.lane(run.lane_of(task)).rest(run.model_of(task)).note(reason, ended.retry_after_s if ended else 0.0)
    task.failure = failure
    task.reason = reason
    is_unwanted |= _is_superfluous(run, task)
    if run.phase is RunPhase.CANCELLING or failure == "cancelled" or is_unwanted:
        move(run, task, TaskTrigger.CANCELLED)
        give_up(run, task)
        return
    task.burned += failure in ("task", "timeout")
    task.infra += failure == "infra"
    is_given_up = run.stopped and task.index >= 0
    if is_given_up or task.burned > retries(run, task) or task.infra > INFRA_RETRIES:
        move(run, task, TaskTrigger.FAILED)
        give_up(run, task)
        return
    move(run, task, TaskTrigger.FAILED_AGAIN)
    run.unscheduled[task.spec.id] = task
    if failure in ("config", "budget") and (run.paused is None or run.paused.kind == "asked"):
        # The others that were out fail of the same: they have nothing to add to the pause.
        hint = ended.hint if ended is not None and ended.hint not in HINTS.values() else ""
        run.halt = run.halt or (failure, f"{reason}; {hint}" if hint else reason)


def retries(run: Run, task: Task) -> int:
    """How many failures of its own this task may have and still go on."""
    if task.index < 0:
        return PLAN_RETRIES
    return run.request.max_retries if task.spec.retries is None else task.spec.retries
