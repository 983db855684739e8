"""``execution_summary.json``: what a run came to, for people and programs.

Imports core and proto only. Invariant: it is made from the run's events alone; version 1 of its format is the structs
below (fields may be added, never changed).
"""

import msgspec

from pto_core import measures, spending
from pto_core.money import dollars
from pto_core.project_docs import is_simulated
from pto_core.views import AttemptView, RunView
from pto_proto.envelope import rfc3339
from pto_proto.results import CheckResult, Conflict, Usage

WEAKEST_FIRST = ("none", "landlock", "bubblewrap")


class AttemptSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt; times are RFC 3339 in UTC, null if it did not get there."""

    attempt: int
    slot: int
    instance: str
    outcome: str | None
    failure: str | None
    reason: str
    hint: str
    """What a person can do about it."""
    exit_code: int | None
    started: str | None
    finished: str | None
    duration_s: float
    usage: Usage
    cost_usd: float | None
    """Null: not known."""
    model: str = ""
    reserved_usd: float = 0.0
    """What was set aside for it: what it counts as where its cost is not known."""
    sandbox: str = ""
    """What confined the programs it ran: bubblewrap, landlock or none; empty: nothing had to."""
    round: int = 0
    """How often the task had been reopened by then; each round counts its attempts from 1."""


class ReopeningSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A red merged project was traced to a task, which was given another round."""

    task: str
    round: int
    evidence: str


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One task of the plan."""

    id: str
    title: str
    state: str
    depends_on: tuple[str, ...]
    files: int
    attempts: tuple[AttemptSummary, ...]
    reused_from: str = ""
    """The run in which it succeeded, if its outputs were taken over from there."""
    usage: Usage = Usage()
    """Tokens of all its attempts."""
    cost_usd: float | None = 0.0
    """Of all its attempts; null: not known."""


class CriticalPath(msgspec.Struct, frozen=True, kw_only=True):
    """The longest chain of dependent tasks: no number of executors could be faster than its seconds."""

    tasks: tuple[str, ...]
    seconds: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    version: int
    run: str
    name: str
    requirement: str
    resumes: str
    """The run that this one continues; empty: none."""
    status: str
    reason: str
    simulated: bool
    engine: str
    backend: str
    sandbox: str
    """The weakest level that an attempt had, not the one asked for; ``none`` too if nothing had to be confined."""
    started: str | None
    finished: str | None
    wall_s: float
    """From the first TaskStarted to the last TaskFinished."""
    serial_s: float
    """The successful attempts one after the other."""
    speed_up: float | None
    """serial_s / wall_s."""
    parallel_efficiency: float | None
    """speed_up / max_executors."""
    max_executors: int
    max_parallel: int
    """Most attempts that really ran at once."""
    critical_path: CriticalPath
    complexity: int | None
    counts: dict[str, int]
    retries: int
    files: int
    lines_of_code: int
    conflicts: tuple[Conflict, ...]
    refused: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    cost_usd: float | None
    """Of all attempts, planning included; null: not known, because that of one is not."""
    unconfirmed: tuple[str, ...]
    """Attempts (``task.attempt``, in later rounds ``task.attempt.r<round>``) whose end nobody confirmed: they may still
    run.
    """
    tree_digest: str
    """Over path, mode and content of the merged project's files."""
    outcome_digest: str
    """Over the status and each task's end state, key and manifest: equal for repeats of a deterministic plan."""
    tasks: tuple[TaskSummary, ...]
    model: str = ""
    """The model that was asked for; empty: the engine's default."""
    usage: Usage = Usage()
    """Tokens of all attempts, planning included."""
    known_cost_usd: float = 0.0
    """Of the attempts whose cost is known."""
    unknown_costs: int = 0
    """Attempts whose cost is not known."""
    max_cost_usd: float | None = None
    """The limit in the end; null: none."""
    reopened: tuple[ReopeningSummary, ...] = ()
    """In the order in which it happened."""
    culprit: str = ""
    """The task that the red check of the last merge was traced to; empty: none is red, or nobody could be named."""
    evidence: str = ""
    """What the culprit's files do to the merged project, or why nobody could be named."""
    merged_builds: int = 0
    """Merged trees that the last merge checked, those of the search for the culprit included."""


def summarize(view: RunView) -> Summary:
    """The summary of a run that was accepted. Raises ValueError for one that was not."""
    run, finished, merged = view.run, view.finished, view.consolidated
    if run is None:
        raise ValueError("the run was never accepted")
    plan = view.plan()
    path = measures.critical_path(view)
    # What is still out when a cancelled run ends is over for its account: nobody will ever say what it cost.
    unsettled = sum(a.is_out and a.cost is None for attempts in view.attempts.values() for a in attempts)
    spent = spending.of_run(view)
    unknown = spent.unknown + (unsettled if finished else 0)
    return Summary(
        version=1,
        run=run.id,
        name=run.request.name or (plan.name if plan else ""),
        requirement=run.request.requirement,
        resumes=run.request.resumes,
        status=finished.status if finished else run.phase.value,
        reason=finished.reason if finished else "",
        simulated=is_simulated(view),
        engine=run.request.engine,
        backend=run.request.backend,
        sandbox=_sandbox(view),
        started=_time(view.accepted_at),
        finished=_time(view.finished_at),
        wall_s=round(measures.wall_s(view), 3),
        serial_s=round(measures.serial_s(view), 3),
        speed_up=_rounded(measures.speed_up(view)),
        parallel_efficiency=_rounded(measures.parallel_efficiency(view)),
        max_executors=run.max_executors,
        max_parallel=measures.max_running(view),
        critical_path=CriticalPath(
            tasks=tuple(task for task, _ in path), seconds=round(sum(seconds for _, seconds in path), 3)
        ),
        complexity=run.plan.complexity if run.plan else None,
        counts=measures.counts(view),
        retries=measures.retries(view),
        files=merged.files if merged else 0,
        lines_of_code=merged.lines if merged else 0,
        conflicts=merged.conflicts if merged else (),
        refused=merged.refused if merged else (),
        checks=merged.checks if merged else (),
        cost_usd=None if unknown or unsettled else spent.known_usd,
        unconfirmed=finished.unconfirmed if finished else (),
        tree_digest=finished.tree_digest if finished else "",
        outcome_digest=finished.outcome_digest if finished else "",
        tasks=_tasks(view),
        model=run.request.model,
        usage=spent.usage,
        known_cost_usd=spent.known_usd,
        unknown_costs=unknown,
        max_cost_usd=None if run.money.limit is None else dollars(run.money.limit),
        reopened=tuple(ReopeningSummary(task=e.task, round=e.round, evidence=e.evidence) for e in view.reopened),
        culprit=merged.culprit if merged else "",
        evidence=merged.evidence if merged else "",
        merged_builds=merged.merged_builds if merged else 0,
    )


def _tasks(view: RunView) -> tuple[TaskSummary, ...]:
    found = []
    reused = view.run.reused if view.run else {}
    for task in view.run.tasks if view.run else ():
        attempts = view.attempts.get(task.spec.id, [])
        spent = spending.of_attempts(attempts)
        found.append(
            TaskSummary(
                id=task.spec.id,
                title=task.spec.title,
                state=task.state.value,
                depends_on=task.spec.depends_on,
                files=attempts[-1].files if attempts else 0,
                attempts=tuple(map(_attempt, attempts)),
                reused_from=reused[task.spec.id].source_run if task.spec.id in reused else "",
                usage=spent.usage,
                cost_usd=None if spent.reserved_usd else spent.cost_usd,
            )
        )
    return tuple(found)


def _attempt(attempt: AttemptView) -> AttemptSummary:
    return AttemptSummary(
        attempt=attempt.attempt,
        round=attempt.round,
        slot=attempt.slot,
        instance=attempt.instance,
        outcome=attempt.outcome,
        failure=attempt.failure,
        reason=attempt.reason,
        hint=attempt.hint,
        exit_code=attempt.exit_code,
        started=_time(attempt.started_at),
        finished=_time(attempt.finished_at),
        duration_s=attempt.duration_s,
        usage=attempt.usage,
        cost_usd=attempt.cost,
        model=attempt.model,
        reserved_usd=attempt.reserved,
        sandbox=attempt.sandbox,
    )


def _sandbox(view: RunView) -> str:
    had = {attempt.sandbox for attempts in view.attempts.values() for attempt in attempts if attempt.sandbox}
    return next((level for level in WEAKEST_FIRST if level in had), WEAKEST_FIRST[0])


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def schema_text() -> str:
    """JSON Schema of the file, as docs/reference keeps it."""
    schema = msgspec.json.schema(Summary)
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"
