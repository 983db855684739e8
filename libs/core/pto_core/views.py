"""The fold for readers of one run: what the log says about it, with the history that deciding does not need.

Imports pto_proto and siblings only. Invariant: a view depends on the run's events in log order alone, so that every
reader of the same events, live or years later, sees the same. Times are Unix milliseconds as the writers recorded them.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from pto_core.fold import evolve
from pto_core.state import Attempt, Run, State
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import NO_DIGEST, Digest, InstanceId, RunId, TaskId
from pto_proto.plans import Plan
from pto_proto.results import Usage

AttemptOutcome = Literal["succeeded", "failed", "cancelled", "lost"]


class AttemptView(msgspec.Struct, kw_only=True):
    """One attempt of one task, as far as it has come. The first word about its end counts; later ones are ignored."""

    task: TaskId
    attempt: int
    round: int = 0
    instance: InstanceId = InstanceId("")
    slot: int = 0
    ready_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    """For a lost attempt: when it was given up."""
    outcome: AttemptOutcome | None = None
    """None: it is out."""
    unknown: bool = False
    """Nobody has heard of it for too long."""
    failure: ev.FailureClass | None = None
    reason: str = ""
    hint: str = ""
    tail: tuple[str, ...] = ()
    exit_code: int | None = None
    duration_s: float = 0.0
    log: Digest = NO_DIGEST
    manifest: Digest = NO_DIGEST
    tree: Digest = NO_DIGEST
    files: int = 0
    usage: Usage = Usage()
    model: str = ""
    """The model that it was to ask; empty: none, or the engine's default."""
    reserved: float = 0.0
    """US dollars set aside for it."""
    cost: float | None = 0.0
    """US dollars; None: unknown, as it is while the attempt is out or when it was lost."""
    sandbox: str = ""
    """What confined its programs; empty: nothing had to."""
    job: str = ""
    job_state: str = ""
    """The backend's last word about its job."""
    job_detail: str = ""
    """What it said beside it, such as why the job waits."""
    retry_at: int | None = None
    """When the attempt after this failed one is due."""

    @property
    def label(self) -> str:
        """As its folder is called."""
        return Attempt(self.task, self.round, self.attempt).label

    @property
    def is_out(self) -> bool:
        """Whether it was handed out and has neither ended nor been given up."""
        return self.outcome is None

    @property
    def is_running(self) -> bool:
        """Whether it is out and has started."""
        return self.outcome is None and self.started_at is not None


class RunView:
    """What one run's events say; feed it the messages of ``run_filter(run)`` in log order."""

    def __init__(self) -> None:
        self.state = State()
        """Its lanes lack what concerns no run; only ``run`` is meant to be looked at."""
        self.id: RunId | None = None
        self.attempts: dict[TaskId, list[AttemptView]] = {}
        """Task -> its attempts in the order of hand-out, the system's own tasks included."""
        self.refused: list[ev.RequestRefused] = []
        self.answers: dict[str, ev.AnswerEntry] = {}
        """Request id -> the scheduler's first answer."""
        self.accepted_at: int | None = None
        self.planned_at: int | None = None
        """When the plan that counts was complete."""
        self.settled: ev.PlanSettled | None = None
        self.executed_at: int | None = None
        self.finished_at: int | None = None
        self.consolidated: ev.RunConsolidated | None = None
        """What the last merge came to; None while a reopened task is not merged yet."""
        self.reopened: list[ev.TaskReopened] = []
        """Each time that a red merged tree was traced to a task, in order."""
        self.finished: ev.RunFinished | None = None
        self.max_handed_out = 0
        """Most attempts of the plan's tasks that were out at once, by the order of the log."""
        self._out = 0

    @property
    def run(self) -> Run | None:
        """The run by the core's fold; None until it is accepted."""
        return self.state.runs.get(self.id) if self.id is not None else None

    def apply(self, seq: int, event: Event) -> None:
        """Take in the event stored at ``seq``. Events of other runs are ignored; the first one names the run."""
        if event.run is None or (self.id is not None and event.run != self.id):
            return
        self.id = event.run
        evolve(self.state, seq, event)
        note = _NOTES.get(event.kind)
        for entry in event.entries:
            if isinstance(entry, ev.AnswerEntry) and entry.request_id:
                self.answers.setdefault(entry.request_id, entry)
            if note is not None:
                note(self, entry)

    def attempt(self, entry: ev.TaskEntry) -> AttemptView | None:
        """The attempt that this entry is about; None if it was never handed out."""
        for view in reversed(self.attempts.get(entry.task, ())):
            if (view.round, view.attempt) == (entry.round, entry.attempt):
                return view
        return None

    def last(self, task: TaskId) -> AttemptView | None:
        """The task's latest attempt."""
        attempts = self.attempts.get(task)
        return attempts[-1] if attempts else None

    def plan(self) -> Plan | None:
        """The plan that runs, or the complete one that waits to be settled; None without one."""
        run = self.run
        if run is None or run.plan is None:
            return None
        parts = run.plans.get(run.plan.plan_digest)
        tasks = parts.tasks() if parts is not None else tuple(task.spec for task in run.tasks)
        return Plan(name=run.plan.name or run.request.name, tasks=tasks, inputs=run.plan.inputs, checks=run.plan.checks)

    def _ended(self, task: TaskId) -> None:
        self._out -= not task.startswith("_")

    def _handed_out(self, task: TaskId) -> None:
        self._out += not task.startswith("_")
        self.max_handed_out = max(self.max_handed_out, self._out)


# --- what each kind of entry adds ------------------------------------------------------------------------------------


def _on_accepted(view: RunView, entry: ev.RunAccepted) -> None:
    view.accepted_at = entry.at if view.accepted_at is None else view.accepted_at


def _on_refused(view: RunView, entry: ev.RequestRefused) -> None:
    view.refused.append(entry)


def _on_plan_finished(view: RunView, entry: ev.PlanFinished) -> None:
    view.planned_at = entry.at if view.planned_at is None else view.planned_at


def _on_settled(view: RunView, entry: ev.PlanSettled) -> None:
    view.settled = view.settled or entry


def _on_ready(view: RunView, entry: ev.TaskReady) -> None:
    if view.attempt(entry) is None:
        known = AttemptView(
            task=entry.task, attempt=entry.attempt, round=entry.round, instance=entry.instance, slot=entry.slot,
            ready_at=entry.at, model=entry.model, reserved=entry.reserved_usd,
            cost=None if entry.reserved_usd else 0.0,
        )  # fmt: skip
        view.attempts.setdefault(entry.task, []).append(known)
        view._handed_out(entry.task)


def _on_started(view: RunView, entry: ev.TaskStarted) -> None:
    attempt = view.attempt(entry)
    if attempt is not None:
        attempt.unknown = False
    if attempt is not None and attempt.started_at is None:
        attempt.started_at = entry.at
        attempt.job = entry.job


def _on_job_state(view: RunView, entry: ev.JobStateChanged) -> None:
    attempt = view.attempt(entry)
    if attempt is not None:
        attempt.job = entry.job or attempt.job
        attempt.job_state, attempt.job_detail = entry.state, entry.detail
        attempt.unknown = False


def _on_unknown(view: RunView, entry: ev.AttemptUnknown) -> None:
    attempt = view.attempt(entry)
    if attempt is not None:
        attempt.unknown = attempt.is_out


def _on_lost(view: RunView, entry: ev.AttemptLost) -> None:
    attempt = view.attempt(entry)
    if attempt is not None and attempt.is_out:
        attempt.outcome = "lost"
        attempt.failure = "infra"
        attempt.reason = entry.reason
        attempt.finished_at = entry.at
        view._ended(entry.task)


def _on_retry_scheduled(view: RunView, entry: ev.TaskRetryScheduled) -> None:
    attempt = view.attempt(entry)
    if attempt is not None:
        attempt.retry_at = entry.due_at


def _on_task_finished(view: RunView, entry: ev.TaskFinished) -> None:
    attempt = view.attempt(entry)
    if attempt is None or not attempt.is_out:
        return
    attempt.outcome = entry.outcome
    attempt.unknown = False
    attempt.finished_at = entry.at
    attempt.failure = entry.failure
    attempt.reason = entry.reason
    attempt.hint = entry.hint
    attempt.tail = entry.tail
    attempt.exit_code = entry.exit_code
    attempt.duration_s = entry.duration_s
    attempt.log = entry.log
    attempt.manifest = entry.manifest
    attempt.tree = entry.tree
    attempt.files = entry.files
    attempt.usage = entry.usage
    attempt.cost = entry.cost_usd
    attempt.sandbox = entry.sandbox
    view._ended(entry.task)


def _on_executed(view: RunView, entry: ev.RunExecuted) -> None:
    view.executed_at = entry.at


def _on_consolidated(view: RunView, entry: ev.RunConsolidated) -> None:
    attempt = view.attempt(entry)
    if attempt is not None and attempt.is_out:
        view.consolidated = entry


def _on_reopened(view: RunView, entry: ev.TaskReopened) -> None:
    if all((known.task, known.round) != (entry.task, entry.round) for known in view.reopened):
        view.reopened.append(entry)
        view.consolidated = None


def _on_run_finished(view: RunView, entry: ev.RunFinished) -> None:
    if view.finished is None:
        view.finished = entry
        view.finished_at = entry.at


_NOTES: dict[type[ev.Entry], Callable[[RunView, Any], None]] = {
    ev.RunAccepted: _on_accepted,
    ev.RequestRefused: _on_refused,
    ev.PlanFinished: _on_plan_finished,
    ev.PlanSettled: _on_settled,
    ev.TaskReady: _on_ready,
    ev.TaskStarted: _on_started,
    ev.JobStateChanged: _on_job_state,
    ev.AttemptUnknown: _on_unknown,
    ev.AttemptLost: _on_lost,
    ev.TaskRetryScheduled: _on_retry_scheduled,
    ev.TaskFinished: _on_task_finished,
    ev.TaskReopened: _on_reopened,
    ev.RunExecuted: _on_executed,
    ev.RunConsolidated: _on_consolidated,
    ev.RunFinished: _on_run_finished,
}
