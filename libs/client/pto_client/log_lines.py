"""A run's events as lines for people: the content of ``orchestrator.log``.

Imports proto only. Invariant: pure; the same events give the same lines, so that the log can be written anywhere, any
time.
"""

from collections.abc import Callable, Iterable
from typing import Any

from pto_proto import events as ev
from pto_proto.envelope import Event, rfc3339


def log_lines(events: Iterable[tuple[int, Event]]) -> Iterable[str]:
    """One line per entry: time, log sequence, what happened; failures with their last lines below."""
    for sequence, event in events:
        words = _WORDS.get(event.kind)
        for entry in event.entries:
            text = words(entry) if words is not None else event.kind.__name__
            yield f"{rfc3339(entry.at)} [{sequence}] {_plain(text)}"
            yield from (f"    | {_plain(line)}" for line in getattr(entry, "tail", ()))


def _limit(entry: ev.BudgetChanged) -> str:
    return "" if entry.max_cost_usd is None else f", the limit of cost to ${entry.max_cost_usd:.2f}"


def _attempt(entry: ev.TaskEntry) -> str:
    round_ = f" of round {entry.round}" if entry.round else ""
    return f"{entry.task} (attempt {entry.attempt}{round_})"


def _finished(entry: ev.TaskFinished) -> str:
    text = f"{_attempt(entry)} {entry.outcome} after {entry.duration_s:.3f} s"
    if entry.outcome == "succeeded":
        return f"{text}, {entry.files} files"
    hint = f" Hint: {entry.hint}" if entry.hint else ""
    code = "" if entry.exit_code is None else f" (exit code {entry.exit_code})"
    return f"{text}: {entry.failure}: {entry.reason.rstrip('.')}{code}.{hint}"


def _consolidated(entry: ev.RunConsolidated) -> str:
    text = f"outputs merged: {entry.files} files, {len(entry.conflicts)} conflicts"
    red = [check.command for check in entry.checks if not check.passed]
    if not red:
        return text
    whom = f"traced to {entry.culprit}" if entry.culprit else entry.evidence
    return f"{text}; {len(red)} of {len(entry.checks)} checks failed, first {red[0]!r}: {whom}"


def _run_finished(entry: ev.RunFinished) -> str:
    text = f"run {entry.status}" + (f": {entry.reason}" if entry.reason else "")
    return f"{text}; nobody confirmed the end of {', '.join(entry.unconfirmed)}" if entry.unconfirmed else text


def _accepted(entry: ev.RunAccepted) -> str:
    request = entry.request
    return f"run accepted: {request.name or request.requirement[:80]!r}, at most {request.max_executors} executors"


_WORDS: dict[type[ev.Entry], Callable[[Any], str]] = {
    ev.RunAccepted: _accepted,
    ev.RequestRefused: lambda e: f"request refused: {'; '.join(map(str, e.reasons))}",
    ev.PlanFinished: lambda e: f"plan finished: {e.task_count} tasks" + (
        f", complexity {e.complexity} of 100. {e.rationale}" if e.complexity is not None else ""
    ),
    ev.TaskPlanned: lambda e: f"plan part {e.part + 1} of {e.parts}: {len(e.tasks)} tasks",
    ev.PlanSettled: lambda e: f"plan settled: {e.decision}",
    ev.TaskReady: lambda e: f"{_attempt(e)} handed out to {e.instance}, slot {e.slot}",
    ev.TaskStarted: lambda e: f"{_attempt(e)} started on {e.instance}",
    ev.TaskFinished: _finished,
    ev.TaskRetryScheduled: lambda e: f"{_attempt(e)} will be retried at {rfc3339(e.due_at)} ({e.failure})",
    ev.AttemptStopRequested: lambda e: f"{_attempt(e)} is asked to stop: {e.reason}",
    ev.AttemptUnknown: lambda e: f"{_attempt(e)}: nobody hears of {e.instance}; what became of it is unknown",
    ev.JobStateChanged: lambda e: f"{_attempt(e)} is {e.state}" + (f": {e.detail}" if e.detail else ""),
    ev.TaskReused: lambda e: f"{e.task} is taken over from {e.source_task} of run {e.source_run}",
    ev.AttemptLost: lambda e: f"{_attempt(e)} is lost: {e.reason}",
    ev.RunCancelling: lambda e: f"run is being cancelled: {e.reason or 'on request'}",
    ev.RunPaused: lambda e: f"run paused ({e.kind}): {e.reason}",
    ev.RunResumed: lambda e: "run resumed",
    ev.BudgetChanged: lambda e: f"executors changed to {e.max_executors}" + _limit(e),
    ev.RunExecuted: lambda e: "all tasks have ended",
    ev.RunConsolidated: _consolidated,
    ev.TaskReopened: lambda e: f"{e.task} is reopened for round {e.round}: {e.evidence}",
    ev.RunFinished: _run_finished,
}  # fmt: skip


def _plain(text: str) -> str:
    """On one line and without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)
