"""Reopening: what a red merged tree that was traced to one task means for it and for all that was built on it.

Imports pto_proto and siblings only. Invariants: when every task has ended, no task is done that saw anything else than
what its dependencies came to in the end, unless the reopened task itself failed for good; a task whose dependencies
made the same again is left alone. All of it follows from TaskReopened and TaskFinished, without further events.
"""

from pto_core import movements
from pto_core.limits import MAX_ROUNDS
from pto_core.movements import IllegalEvent, drop, enter, make_ready, move, release_dependents
from pto_core.state import Run, State, Task
from pto_core.transitions import DONE_STATES, ENDED_STATES, RunPhase, TaskState, TaskTrigger
from pto_proto.events import FailureClass, TaskFinished, TaskReopened
from pto_proto.ids import MERGE_TASK, NO_DIGEST


def task_to_reopen(run: Run) -> Task | None:
    """The task that the run's red merged tree was traced to, if it may have another round.

    Only an agent makes something else the next time, and only a run that lacks nothing else can still succeed.
    """
    merged, merge = run.consolidated, run.system[MERGE_TASK]
    if merged is None or run.phase is not RunPhase.CONSOLIDATING or merge.state is not TaskState.SUCCEEDED:
        return None
    task = run.task(merged.culprit) if merged.culprit in run.index else None
    if task is None or not task.spec.agent or task.round >= MAX_ROUNDS or not is_complete(run):
        return None
    return task


def is_complete(run: Run) -> bool:
    """Whether every task of the plan is done."""
    return sum(run.counts.get(state, 0) for state in DONE_STATES) == len(run.tasks)


def reopen(state: State, run: Run, task: Task, entry: TaskReopened) -> None:
    """A new round begins for the task, and all that depends on it waits for what comes of that. Raises IllegalEvent."""
    if entry.round != task.round + 1 or task is not task_to_reopen(run):
        raise IllegalEvent(f"round {entry.round} of task {entry.task} was opened, but its merged tree does not say so")
    enter(state, run, RunPhase.RUNNING)
    _begin_again(run, run.system[MERGE_TASK])
    run.consolidated = None
    below = list(run.graph.descendants(task.index))
    for at in (task.index, *below):
        for child in run.graph.children[at]:
            run.tasks[child].unmet += 1
    run.review = {run.tasks[at].spec.id: False for at in sorted(below)}
    _revoke(run, task)
    task.round = entry.round
    task.attempt = 0
    run.reopened.pop(entry.task, None)
    run.reopened[entry.task] = entry
    make_ready(run, task)


def spread(run: Run, task: Task) -> None:
    """The task succeeded: its dependents are released, and if it was revoked, those that it concerns run again."""
    release_dependents(run, task)
    before = run.revoked.pop(task.spec.id, None)
    if before is None or run.phase is RunPhase.CANCELLING:
        return
    settled = [(task, task.tree != before)]
    while settled:
        above, has_changed = settled.pop()
        for child in run.graph.children[above.index]:
            below = run.tasks[child]
            if below.spec.id not in run.review:
                continue
            run.review[below.spec.id] |= has_changed
            if below.unmet:
                continue
            if not run.review.pop(below.spec.id):
                release_dependents(run, below)
                settled.append((below, False))
            elif run.stopped:
                _skip(run, below)
            else:
                _revoke(run, below)
                make_ready(run, below)


def fail(
    state: State, run: Run, task: Task, failure: FailureClass, reason: str, ended: TaskFinished | None = None
) -> None:
    """As ``movements.fail``; if the end is for good, what needs the task is settled."""
    movements.fail(state, run, task, failure, reason, ended)
    _abandon(run, task)


def _abandon(run: Run, task: Task) -> None:
    """If the task is revoked and has ended, nothing is done any more that needs what it made.

    What was built on the reopened task itself saw no change, and stays as it was.
    """
    if run.phase is RunPhase.CANCELLING:
        return
    names = [task.spec.id] if not run.stopped else list(run.revoked)
    for name in names:
        gone = run.task(name)
        if gone is None or name not in run.revoked or gone.state not in ENDED_STATES:
            continue
        del run.revoked[name]
        if name == next(reversed(run.reopened)):
            run.review.clear()
        else:
            _skip_below(run, gone)


def _skip(run: Run, task: Task) -> None:
    _revoke(run, task)
    del run.revoked[task.spec.id]
    drop(run, task, TaskTrigger.SKIPPED)
    _skip_below(run, task)


def _skip_below(run: Run, task: Task) -> None:
    for at in run.graph.descendants(task.index):
        below = run.tasks[at]
        if run.review.pop(below.spec.id, None) is not None:
            _revoke(run, below)
            del run.revoked[below.spec.id]
            drop(run, below, TaskTrigger.SKIPPED)


def _revoke(run: Run, task: Task) -> None:
    """What the task made counts no more."""
    run.revoked[task.spec.id] = task.tree
    run.reused.pop(task.spec.id, None)
    move(run, task, TaskTrigger.REOPENED)
    task.key = task.manifest = task.tree = NO_DIGEST
    task.burned = task.infra = 0


def _begin_again(run: Run, merge: Task) -> None:
    move(run, merge, TaskTrigger.REOPENED)
    merge.round += 1
    merge.attempt = merge.burned = merge.infra = 0
