"""One line per thing that happened, for progress without a terminal. Pure.

Imports core and proto only. Invariant: what is said follows from the event and the view that has just taken it in.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from pto_cli.render import SYSTEM, clean, count, counts_line, duration, is_simulated
from pto_cli.review import awaits_review
from pto_core.reuse import wants_reuse
from pto_core.views import RunView
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import EDIT_TASK

MAX_EVIDENCE_LINES = 8
"""Of the evidence of a reopening; `orchestrator explain` shows all of it."""
MAX_SOURCES = 3
"""Runs named from which tasks were taken over."""


def event_lines(view: RunView, event: Event) -> Iterator[str]:
    """The lines about one event, each with the time since the run was accepted; most kinds have none."""
    say = _SAY.get(event.kind)
    if say is None:
        return
    for entry in event.entries:
        since = max(0, entry.at - (view.accepted_at or entry.at)) / 1000
        minutes, seconds = divmod(since, 60)
        for line in say(view, entry):
            yield f"{int(minutes):02d}:{seconds:04.1f}  {line}"


def _accepted(view: RunView, entry: ev.RunAccepted) -> Iterator[str]:
    request = entry.request
    what = clean(request.name or request.requirement, 100)
    what += f", goes on where {clean(request.resumes, 60)} ended" if request.resumes else ""
    yield f"run {view.id} accepted: {what} (at most {request.max_executors} at once on {request.backend})"
    if request.engine == "simulated" and request.requirement:
        yield "SIMULATED: the engine makes up a project; no model is asked"


def _refused(view: RunView, entry: ev.RequestRefused) -> Iterator[str]:
    yield from (f"refused: {clean(str(reason))}" for reason in entry.reasons)


def _edited(view: RunView, entry: ev.PlanEditAccepted) -> Iterator[str]:
    yield f"plan edited by a person: {count(entry.task_count, 'task')}"


def _planned(view: RunView, entry: ev.PlanFinished) -> Iterator[str]:
    if entry.task == EDIT_TASK:
        return
    complexity = "" if entry.complexity is None else f", complexity {entry.complexity} of 100"
    rationale = f": {clean(entry.rationale)}" if entry.rationale else ""
    yield f"plan of {count(entry.task_count, 'task')}{complexity}{rationale}"
    if awaits_review(view):
        yield f"the plan waits for approval: `orchestrator approve {view.id}`"


def _settled(view: RunView, entry: ev.PlanSettled) -> Iterator[str]:
    run = view.run
    if entry.decision != "not-asked":
        yield f"plan {entry.decision}" + (f": {clean(entry.reason)}" if entry.reason else "")
    if run is None or entry.decision == "rejected":
        return
    if is_simulated(view) and not run.request.requirement:
        yield "SIMULATED: agents' work is made up; no model is asked"
    if wants_reuse(run):
        sources = Counter(entry.source_run for entry in run.reused.values())
        taken = "".join(
            f", {number} from run {clean(source, 60)}" for source, number in sources.most_common(MAX_SOURCES)
        )
        yield f"{len(run.reused)} of {count(len(run.tasks), 'task')} taken over{taken}"


def _started(view: RunView, entry: ev.TaskStarted) -> Iterator[str]:
    if entry.task in SYSTEM:
        yield SYSTEM[entry.task]
        return
    attempt = view.attempt(entry)
    if attempt is not None and attempt.started_at != entry.at:
        return  # whoever took it over says it again
    slot = f" in slot {attempt.slot}" if attempt is not None else ""
    again = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
    round_ = f", round {entry.round}" if entry.round else ""
    yield f"{entry.task} started{slot}{again}{round_}"


def _finished(view: RunView, entry: ev.TaskFinished) -> Iterator[str]:
    done = f" [{counts_line(view.run)}]" if view.run is not None and entry.task not in SYSTEM else ""
    if entry.outcome == "succeeded":
        if entry.task not in SYSTEM:
            files = f", {count(entry.files, 'file')}" if entry.files else ""
            yield f"{entry.task} succeeded after {duration(entry.duration_s)}{files}{_cost(view, entry)}{done}"
        return
    name = SYSTEM.get(entry.task, entry.task)
    if entry.outcome == "cancelled":
        yield f"{name} cancelled{done}"
        return
    code = "" if entry.exit_code is None else f", exit code {entry.exit_code}"
    yield f"{name} failed ({entry.failure}{code}): {clean(entry.reason)}{_cost(view, entry)}{done}"
    if entry.hint:
        yield f"    {clean(entry.hint)}"


def _cost(view: RunView, entry: ev.TaskFinished) -> str:
    attempt = view.attempt(entry)
    if entry.cost_usd is None:
        return ", at an unknown cost"
    return f", ${entry.cost_usd:.2f}" if entry.cost_usd or (attempt is not None and attempt.reserved) else ""


def _retry(view: RunView, entry: ev.TaskRetryScheduled) -> Iterator[str]:
    yield f"{entry.task} will be tried again in {duration((entry.due_at - entry.at) / 1000)}"


def _unknown(view: RunView, entry: ev.AttemptUnknown) -> Iterator[str]:
    yield f"{entry.task}: no news of attempt {entry.attempt} from {entry.instance}"


def _known_again(view: RunView, entry: ev.JobStateChanged) -> Iterator[str]:
    job = f", job {clean(entry.job, 40)}," if entry.job else ""
    yield f"{entry.task}: attempt {entry.attempt}{job} is {clean(entry.state)}" + (
        f" ({clean(entry.detail)})" if entry.detail else ""
    )


def _lost(view: RunView, entry: ev.AttemptLost) -> Iterator[str]:
    yield f"{entry.task}: attempt {entry.attempt} is lost: {clean(entry.reason)}"


def _lane_paused(view: RunView, entry: ev.LanePaused) -> Iterator[str]:
    what = f"nothing that asks {clean(entry.model, 60)}" if entry.model else "nothing"
    yield f"{what} is handed out for now: {clean(entry.reason)}"


def _paused(view: RunView, entry: ev.RunPaused) -> Iterator[str]:
    yield f"paused ({entry.kind}): {clean(entry.reason, 600)}"


def _resumed(view: RunView, entry: ev.RunResumed) -> Iterator[str]:
    yield "resumed"


def _budget(view: RunView, entry: ev.BudgetChanged) -> Iterator[str]:
    cost = "" if entry.max_cost_usd is None else f", ${entry.max_cost_usd:.2f} in all"
    yield f"from here on at most {entry.max_executors} at once{cost}"


def _cancelling(view: RunView, entry: ev.RunCancelling) -> Iterator[str]:
    yield "being cancelled" + (f": {clean(entry.reason)}" if entry.reason else "")


def _consolidated(view: RunView, entry: ev.RunConsolidated) -> Iterator[str]:
    conflicts = f", {len(entry.conflicts)} conflicts" if entry.conflicts else ""
    red = sum(not check.passed for check in entry.checks)
    checks = f", {red} of {len(entry.checks)} checks failed" if red else ""
    made = f"{count(entry.files, 'file')}, {count(entry.lines, 'line')} of code"
    yield f"merged: {made}{conflicts}{checks}"
    if entry.culprit:
        yield f"traced to {entry.culprit} ({count(entry.merged_builds, 'merged tree')} checked)"
    elif red and entry.evidence:
        yield clean(entry.evidence)


def _reopened(view: RunView, entry: ev.TaskReopened) -> Iterator[str]:
    yield f"{entry.task} is reopened, round {entry.round}"
    yield from (f"    {clean(line)}" for line in entry.evidence.splitlines()[:MAX_EVIDENCE_LINES])


def _run_finished(view: RunView, entry: ev.RunFinished) -> Iterator[str]:
    yield f"run {view.id} {entry.status}" + (f": {clean(entry.reason)}" if entry.reason else "")


_SAY: dict[type[ev.Entry], Callable[[RunView, Any], Iterator[str]]] = {
    ev.RunAccepted: _accepted,
    ev.RequestRefused: _refused,
    ev.PlanFinished: _planned,
    ev.PlanEditAccepted: _edited,
    ev.PlanSettled: _settled,
    ev.TaskStarted: _started,
    ev.TaskFinished: _finished,
    ev.TaskRetryScheduled: _retry,
    ev.AttemptUnknown: _unknown,
    ev.JobStateChanged: _known_again,
    ev.AttemptLost: _lost,
    ev.LanePaused: _lane_paused,
    ev.RunPaused: _paused,
    ev.RunResumed: _resumed,
    ev.BudgetChanged: _budget,
    ev.RunCancelling: _cancelling,
    ev.RunConsolidated: _consolidated,
    ev.TaskReopened: _reopened,
    ev.RunFinished: _run_finished,
}
