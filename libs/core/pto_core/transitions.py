"""The legal transitions of tasks and runs, as tables; the diagrams in the docs are generated from them.

Imports the standard library's enum only. Invariant: what is not in a table does not happen; the fold quarantines the
run.
"""

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is. ``ready`` means handed out to a dispatcher that has not said yet that it started."""

    PLANNED = "planned"
    READY = "ready"
    RUNNING = "running"
    WAITING_RETRY = "waiting-retry"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    REUSED = "reused"


class TaskTrigger(StrEnum):
    """What moves a task."""

    HANDED_OUT = "handed-out"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED_AGAIN = "failed, will retry"
    FAILED = "failed for good"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    REUSED = "reused"
    REOPENED = "reopened"


class RunPhase(StrEnum):
    """Where a run is."""

    PLANNING = "planning"
    AWAITING_APPROVAL = "awaiting-approval"
    RUNNING = "running"
    CONSOLIDATING = "consolidating"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


TASK_TRANSITIONS: dict[tuple[TaskState, TaskTrigger], TaskState] = {
    (TaskState.PLANNED, TaskTrigger.HANDED_OUT): TaskState.READY,
    (TaskState.PLANNED, TaskTrigger.SKIPPED): TaskState.SKIPPED,
    (TaskState.PLANNED, TaskTrigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.PLANNED, TaskTrigger.REUSED): TaskState.REUSED,
    (TaskState.READY, TaskTrigger.STARTED): TaskState.RUNNING,
    (TaskState.READY, TaskTrigger.SUCCEEDED): TaskState.SUCCEEDED,
    (TaskState.READY, TaskTrigger.FAILED_AGAIN): TaskState.WAITING_RETRY,
    (TaskState.READY, TaskTrigger.FAILED): TaskState.FAILED,
    (TaskState.READY, TaskTrigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.RUNNING, TaskTrigger.SUCCEEDED): TaskState.SUCCEEDED,
    (TaskState.RUNNING, TaskTrigger.FAILED_AGAIN): TaskState.WAITING_RETRY,
    (TaskState.RUNNING, TaskTrigger.FAILED): TaskState.FAILED,
    (TaskState.RUNNING, TaskTrigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.WAITING_RETRY, TaskTrigger.HANDED_OUT): TaskState.READY,
    (TaskState.WAITING_RETRY, TaskTrigger.SKIPPED): TaskState.SKIPPED,
    (TaskState.WAITING_RETRY, TaskTrigger.CANCELLED): TaskState.CANCELLED,
    (TaskState.SKIPPED, TaskTrigger.HANDED_OUT): TaskState.READY,
    (TaskState.SUCCEEDED, TaskTrigger.REOPENED): TaskState.PLANNED,
    (TaskState.REUSED, TaskTrigger.REOPENED): TaskState.PLANNED,
}

RUN_TRANSITIONS: dict[RunPhase, tuple[RunPhase, ...]] = {
    RunPhase.PLANNING: (
        RunPhase.AWAITING_APPROVAL,
        RunPhase.RUNNING,
        RunPhase.CANCELLING,
        RunPhase.FAILED,
    ),
    RunPhase.AWAITING_APPROVAL: (RunPhase.RUNNING, RunPhase.CANCELLING, RunPhase.FAILED),
    RunPhase.RUNNING: (RunPhase.CONSOLIDATING, RunPhase.CANCELLING),
    RunPhase.CONSOLIDATING: (
        RunPhase.RUNNING,
        RunPhase.SUCCEEDED,
        RunPhase.PARTIAL,
        RunPhase.FAILED,
        RunPhase.CANCELLING,
    ),
    RunPhase.CANCELLING: (RunPhase.CANCELLED,),
    RunPhase.SUCCEEDED: (),
    RunPhase.PARTIAL: (),
    RunPhase.FAILED: (),
    RunPhase.CANCELLED: (),
}

OPEN_STATES = frozenset({TaskState.READY, TaskState.RUNNING})
"""An attempt of the task is out and holds a slot."""
ENDED_STATES = frozenset(
    {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED, TaskState.REUSED}
)
DONE_STATES = frozenset({TaskState.SUCCEEDED, TaskState.REUSED})
"""Dependents may start."""
ENDED_PHASES = frozenset({phase for phase, after in RUN_TRANSITIONS.items() if not after})


def state_diagrams() -> str:
    """Both tables as Mermaid state diagrams, for the docs."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> planned"]
    lines += [f"    {a.value} --> {b.value}: {t.value}" for (a, t), b in TASK_TRANSITIONS.items()]
    lines += [f"    {s.value} --> [*]" for s in sorted(ENDED_STATES)]
    lines += ["```", "", "```mermaid", "stateDiagram-v2", "    [*] --> planning"]
    lines += [f"    {a.value} --> {b.value}" for a, after in RUN_TRANSITIONS.items() for b in after]
    lines += [f"    {p.value} --> [*]" for p in sorted(ENDED_PHASES)]
    return "\n".join([*lines, "```", ""])
