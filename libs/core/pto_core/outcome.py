"""What a run came to: its status and its outcome digest.

Imports pto_proto and siblings only. Invariant: the outcome digest depends on nothing but the status and, per task, its
end state, key and manifest, so that an undisturbed and a disturbed run of one plan agree.
"""

import hashlib
from collections.abc import Container

from pto_core.state import Attempt, Run, Task
from pto_core.transitions import DONE_STATES, OPEN_STATES, RunPhase, TaskState
from pto_proto.events import RunConsolidated, RunStatus
from pto_proto.ids import NO_DIGEST, Digest
from pto_proto.results import CheckResult


def run_status(run: Run) -> tuple[RunStatus, str]:
    """(status, reason) of a run that has nothing left to do. All-failed or empty is never ``succeeded``."""
    if run.phase is RunPhase.CANCELLING:
        return "cancelled", run.rejected or "cancelled on request"
    done = sum(run.counts.get(state, 0) for state in DONE_STATES)
    missing = len(run.tasks) - done
    if missing:
        failed = run.counts.get(TaskState.FAILED, 0)
        skipped = run.counts.get(TaskState.SKIPPED, 0)
        return ("partial" if done else "failed"), f"{failed} tasks failed, {skipped} were skipped because of that"
    merged = run.consolidated
    if merged is None:
        return "failed", "the outputs were not merged"
    red = next((check for check in merged.checks if not check.passed), None)
    if red is not None:
        return "partial", f"a check on the merged project failed: {_red(run, merged, red)}"
    unresolved = [conflict.path for conflict in merged.conflicts if conflict.resolution == "unresolved"]
    if unresolved:
        return "partial", f"{len(unresolved)} paths have conflicting versions, the first is {unresolved[0]}"
    return "succeeded", ""


def _red(run: Run, merged: RunConsolidated, check: CheckResult) -> str:
    how = "did not end by itself" if check.exit_code is None else f"exit code {check.exit_code}"
    named = f"`{check.command}` ({how})"
    culprit = run.task(merged.culprit) if merged.culprit else None
    if culprit is None:
        return named + (f"; {merged.evidence}" if merged.evidence else "")
    return f"{named}, traced to {merged.culprit}, which was reopened {culprit.round} times"


def end_state(task: Task) -> TaskState:
    """The task's state in the end; with an attempt still out when its run ends it is cancelled, unconfirmed."""
    return TaskState.CANCELLED if task.is_open else task.state


def end_counts(run: Run) -> dict[str, int]:
    """End state -> number of tasks, without zeros, by name."""
    counts = {state: count for state, count in run.counts.items() if count}
    still_out = sum(counts.pop(state, 0) for state in OPEN_STATES)
    if still_out:
        counts[TaskState.CANCELLED] = counts.get(TaskState.CANCELLED, 0) + still_out
    return {state.value: count for state, count in sorted(counts.items())}


def outcome_digest(run: Run, status: RunStatus, unconfirmed: Container[str] = ()) -> Digest:
    """Digest of the status and of each task's end state, key and manifest, in plan order.

    ``unconfirmed`` names attempts (by their labels) that count as out, whatever is known of their ends by now.
    """
    digest = hashlib.sha256(status.encode())
    for task in run.tasks:
        state, manifest = end_state(task), task.manifest
        if unconfirmed and Attempt(task.spec.id, task.round, task.attempt).label in unconfirmed:
            state, manifest = TaskState.CANCELLED, NO_DIGEST
        digest.update(f"\n{task.spec.id} {state.value} {task.key} {manifest}".encode())
    return Digest(digest.hexdigest())
