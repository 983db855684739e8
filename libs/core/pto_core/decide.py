"""The decisions: what follows from what the log says. Pure; the scheduler's shell writes what comes out.

Imports pto_proto and siblings only. Invariants: every decision is legal alone, so that any part of a tick may be
written without the rest; deciding again on the same state gives the same decisions.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from pto_core.hand_out import hand_out
from pto_core.limits import BACKOFF_BASE_MS, MAX_EVIDENCE
from pto_core.money import FIRST_ESTIMATES, Estimates
from pto_core.outcome import end_counts, outcome_digest, run_status
from pto_core.reopening import task_to_reopen
from pto_core.retry import backoff_ms
from pto_core.reuse import wants_reuse
from pto_core.silence import Heard, judge, unconfirmed
from pto_core.state import Run, State, Task
from pto_core.transitions import RunPhase, TaskState
from pto_proto import events as ev
from pto_proto.ids import EDIT_TASK, MERGE_TASK, NO_DIGEST, PLAN_TASK, Lane, RunId

ALL_WELL = Heard()
Reused = Mapping[RunId, Sequence[ev.TaskReused]]
"""Run that asked for reuse -> what it takes over, as far as that was looked up."""
NOTHING_KNOWN: Reused = {}
_GIVEN_UP = (TaskState.FAILED, TaskState.CANCELLED)


class Decision(NamedTuple):
    """One entry to write, in this lane about this run."""

    lane: Lane | None
    run: RunId | None
    entry: ev.Entry


def decide(
    state: State,
    now: int,
    heard: Heard = ALL_WELL,
    reused: Reused = NOTHING_KNOWN,
    estimates: Estimates = FIRST_ESTIMATES,
) -> list[Decision]:
    """Everything that should be written now; ``now`` (Unix ms) is never before ``state.now``.

    ``heard`` says which instances gave a sign of life, and which not; ``reused`` what the runs that asked for it take
    over: until that is known, their plans are not settled. ``estimates`` is what attempts are assumed to cost before
    any of their kind has ended.
    """
    decisions = [Decision(lane, None, entry) for lane, entry in _lanes(state, now)]
    # A cancelled run also ends by silence, about which there is no news.
    waiting = {run.id for run in state.active.values() if run.phase is RunPhase.CANCELLING} if heard.silent else set()
    for name in sorted(state.touched | waiting):
        run = state.active.get(name)
        if run is not None:
            decisions += [Decision(lane, name, entry) for lane, entry in _steps(run, now, heard, reused.get(name))]
    decisions += [Decision(lane, run.id, entry) for lane, run, entry in judge(state, heard, now)]
    decisions += [Decision(lane, run.id, entry) for lane, run, entry in hand_out(state, now, heard.alive, estimates)]
    return decisions


def next_due(state: State, now: int) -> int | None:
    """When (Unix ms) time alone will call for a decision; None: never."""
    rests = [rest.until for lane in state.lanes.values() for rest in lane.rests.values()]
    due = [until for until in rests if until and until > now]
    for run in state.active.values():
        at = bisect_right(run.due, now, key=_moment) if run.due else 0
        due += [moment for moment, _ in run.due[at : at + 1]]
    return min(due, default=None)


_moment = itemgetter(0)


def _lanes(state: State, now: int) -> Iterator[tuple[Lane, ev.Entry]]:
    for name, lane in state.lanes.items():
        for model, rest in lane.rests.items():
            if rest.short_of:
                yield name, ev.LanePaused(at=now, reason=rest.short_of, until=rest.next_until(now), model=model)
            elif rest.until and rest.until <= now:
                yield name, ev.LaneResumed(at=now, model=model)


def _steps(
    run: Run, now: int, heard: Heard, reused: Sequence[ev.TaskReused] | None
) -> Iterator[tuple[Lane | None, ev.Entry]]:
    if run.poisoned is not None:
        if run.paused is None or run.paused.kind != "poisoned":
            sequence, reason = run.poisoned
            yield None, ev.RunPaused(at=now, cause=sequence, kind="poisoned", reason=reason, sequence=sequence)
        if run.phase is not RunPhase.CANCELLING:
            return
    if run.halt is not None and run.phase is not RunPhase.CANCELLING:
        kind, reason = run.halt
        yield None, ev.RunPaused(at=now, kind="config" if kind == "config" else "budget", reason=reason)
    for task in run.unscheduled.values():
        yield None, _retry(run, task, now)
    if run.phase is RunPhase.CANCELLING:
        yield from _stop(run, run.open.values(), now)
    elif run.plan is not None and run.phase in (RunPhase.PLANNING, RunPhase.AWAITING_APPROVAL):
        yield from _settle(run, run.plan, reused, now)
    elif run.phase is RunPhase.RUNNING and run.unended == 0 and not run.open:
        yield None, ev.RunExecuted(at=now)
    elif run.unwanted:
        yield from _stop(run, run.unwanted.values(), now)
    if (culprit := task_to_reopen(run)) is not None:
        yield None, _reopen(run, culprit, now)
    elif _is_over(run, heard):
        yield None, _finish(run, now, heard)


def _settle(
    run: Run, plan: ev.PlanFinished, reused: Sequence[ev.TaskReused] | None, now: int
) -> Iterator[tuple[None, ev.Entry]]:
    if wants_reuse(run):
        if reused is None:
            return
        for entry in reused:
            known = run.reused.get(entry.task)
            if known is None or known.plan_digest != entry.plan_digest:
                yield None, msgspec.structs.replace(entry, at=now)
    if run.phase is RunPhase.PLANNING:
        yield None, ev.PlanSettled(at=now, plan_digest=plan.plan_digest)
    elif run.edit is not None and plan.task == EDIT_TASK:
        request_id = run.edit.request_id
        yield None, ev.PlanSettled(at=now, request_id=request_id, plan_digest=plan.plan_digest, decision="edited")


def _retry(run: Run, task: Task, now: int) -> ev.TaskRetryScheduled:
    failure = task.failure or "task"
    if failure in ("task", "timeout"):
        delay = backoff_ms(run.id, task.spec.id, task.burned)
    else:
        # The infrastructure gets a short breath; capacity and configuration wait by the pause of their lane or run.
        delay = BACKOFF_BASE_MS // 5 if failure == "infra" else 0
    return ev.TaskRetryScheduled(
        at=now, task=task.spec.id, attempt=task.attempt, round=task.round, due_at=now + delay, failure=failure
    )


def _reopen(run: Run, task: Task, now: int) -> ev.TaskReopened:
    evidence = run.consolidated.evidence if run.consolidated is not None else ""
    return ev.TaskReopened(
        at=now, task=task.spec.id, attempt=task.attempt, round=task.round + 1, evidence=evidence[:MAX_EVIDENCE]
    )


def _stop(run: Run, tasks: Iterable[Task], now: int) -> Iterator[tuple[Lane, ev.Entry]]:
    is_cancelled = run.phase is RunPhase.CANCELLING
    reason = run.rejected or ("the run is cancelled" if is_cancelled else "another task's failure stopped the run")
    for task in tasks:
        if not task.stopping and task.instance is not None:
            yield (
                run.lane_of(task),
                ev.AttemptStopRequested(
                    at=now,
                    task=task.spec.id,
                    attempt=task.attempt,
                    round=task.round,
                    instance=task.instance,
                    reason=reason,
                ),
            )


def _is_over(run: Run, heard: Heard) -> bool:
    if run.phase is RunPhase.CANCELLING:
        return unconfirmed(run, heard) is not None
    if run.open:
        return False
    if run.phase is RunPhase.PLANNING:
        # A plan may come from an attempt that was given up; once it is complete, the run goes on with it.
        return run.plan is None and run.system[PLAN_TASK].state in (TaskState.SUCCEEDED, *_GIVEN_UP)
    if run.phase is RunPhase.AWAITING_APPROVAL:
        edit = run.system.get(EDIT_TASK)
        is_missing = run.plan is None or run.plan.task != EDIT_TASK
        return edit is not None and is_missing and edit.state in (TaskState.SUCCEEDED, *_GIVEN_UP)
    return run.phase is RunPhase.CONSOLIDATING and run.system[MERGE_TASK].state in (TaskState.SUCCEEDED, *_GIVEN_UP)


def _finish(run: Run, now: int, heard: Heard) -> ev.RunFinished:
    if run.phase in (RunPhase.PLANNING, RunPhase.AWAITING_APPROVAL):
        name, what = (PLAN_TASK, "no plan") if run.phase is RunPhase.PLANNING else (EDIT_TASK, "no edited plan")
        reason = f"{what}: {run.system[name].reason or 'the planner ended without one'}"
        return ev.RunFinished(
            at=now,
            status="failed",
            tasks={},
            reason=reason,
            outcome_digest=outcome_digest(run, "failed"),
            unconfirmed=unconfirmed(run, heard) or (),
        )
    status, reason = run_status(run)
    merge = run.system[MERGE_TASK]
    if merge.state in _GIVEN_UP and run.phase is RunPhase.CONSOLIDATING:
        status, reason = "failed", f"the outputs could not be merged: {merge.reason}"
    counts = end_counts(run)
    tree = run.consolidated.tree_digest if run.consolidated is not None else NO_DIGEST
    return ev.RunFinished(
        at=now,
        status=status,
        tasks=counts,
        reason=reason,
        outcome_digest=outcome_digest(run, status),
        tree_digest=tree,
        unconfirmed=unconfirmed(run, heard) or (),
    )
