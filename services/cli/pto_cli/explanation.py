"""Why a task ran or did not run, and what it waits for: pure functions from what is known to sentences.

Imports core and proto only. Invariant: what cannot be known is said to be unknown; nothing is guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from pto_cli.render import clean, cost_text, count, duration, job_text
from pto_core.allowance import Allowance, in_the_way
from pto_core.hand_out import ability_for
from pto_core.keys import OUTPUT_OF
from pto_core.money import FIRST_ESTIMATES, account, money_text
from pto_core.reuse import differences, may_cross, most_similar, parts_of, wants_reuse
from pto_core.spending import of_attempts
from pto_core.state import LaneState, Run, Task
from pto_core.transitions import DONE_STATES, ENDED_STATES, RunPhase, TaskState
from pto_core.views import AttemptView, RunView
from pto_proto.reuse import Reusable

MAX_NAMED = 5
"""Tasks named in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known beside the run's own events."""

    now: int
    earlier: Sequence[Reusable] = ()
    """Earlier successes of tasks with the same id, newest first."""
    lane: LaneState | None = None
    """The task's lane; None: not looked at."""
    is_idle: bool = False
    """Whether nobody hosts the run."""


def state_sentence(view: RunView, task: Task, known: Known) -> str:
    """The task's state in one sentence."""
    run, last = view.run, view.last(task.spec.id)
    number = last.attempt if last is not None else 0
    if run is not None and task.state is TaskState.REUSED:
        entry = run.reused[task.spec.id]
        where = f"task {entry.source_task} of run {clean(entry.source_run, 60)}"
        return f"reused: the outputs of {where} were taken over, nothing was executed"
    if task.state is TaskState.SKIPPED and run is not None:
        return f"skipped, because {_above(run, task)}"
    if task.state is TaskState.CANCELLED:
        return "cancelled" + (f" at attempt {number}" if number else " before it started")
    if task.state is TaskState.SUCCEEDED:
        return f"succeeded at attempt {number}{_in_round(task.round)}"
    if task.state is TaskState.FAILED:
        return (
            f"failed for good after {count(len(view.attempts.get(task.spec.id, ())), 'attempt')}: {clean(task.reason)}"
        )
    if task.is_open and known.is_idle:
        return f"attempt {number} was out when the run was interrupted"
    if task.is_open and last is not None:
        since = duration((known.now - (last.started_at or last.ready_at or known.now)) / 1000)
        word = f"has been running for {since}" if last.is_running else f"was handed out {since} ago and has not started"
        news = ", and nobody has heard of it for too long" if last.unknown else ""
        stop = ", and is asked to stop" if task.stopping else ""
        job = f": {text}" if (text := job_text(last)) else ""
        return f"attempt {number} {word}, in slot {last.slot} at {last.instance}{news}{stop}{job}"
    if task.state is TaskState.PLANNED and last is not None:
        return "has to run once more, because " + (
            "the merged project was red" if last.round < task.round else "what it depends on has changed"
        )
    if task.state is TaskState.WAITING_RETRY:
        return f"attempt {number} failed ({task.failure}): {clean(task.reason)}; it is tried again"
    return "has not been started yet"


def why_it_runs(run: Run, task: Task, known: Known) -> str | None:
    """Why nothing was taken over for the task; None if something was, or if it is not one of the plan's tasks."""
    if task.index < 0 or task.state is TaskState.REUSED:
        return None
    if not wants_reuse(run):
        return "the run did not ask to take over earlier work (`--reuse` does, and `resume` of a finished run)"
    if not run.request.resumes and not may_cross(task.spec, run.plan.inputs if run.plan is not None else ()):
        if task.spec.env:
            return "what passes environment variables through is not taken over from other runs"
        return "a command without declared `inputs` may read anything, so it is not taken over from other runs"
    parts = parts_of(run, task.spec.id)
    nearest = most_similar(parts, known.earlier)
    if nearest is None:
        resumed = run.request.resumes
        return (
            f"it had not succeeded in run {resumed}" if resumed else "no earlier run has finished a task with this id"
        )
    if not nearest.parts:
        return f"something changed since run {nearest.run}; what it was is not kept for runs of this size"
    return _what_changed(run, task, parts, nearest)


def _what_changed(run: Run, task: Task, parts: Mapping[str, str], nearest: Reusable) -> str:
    before = [run.tasks[run.index[name]] for name in dict.fromkeys(task.spec.depends_on)]
    not_done = {f"{OUTPUT_OF}{other.spec.id}" for other in before if other.state not in DONE_STATES}
    kept = {name: digest for name, digest in nearest.parts.items() if name not in not_done}
    changed = differences(parts, msgspec.structs.replace(nearest, parts=kept))
    again = [other.spec.id for other in before if other.state is not TaskState.REUSED]
    since = f"since run {clean(nearest.run, 60)}"
    if changed:
        return f"{_and(changed)} {since}"
    if not_done:
        return f"it depends on {_named(again)}, which had to run"
    if again:
        return f"it depends on {_named(again)}, which had to run; what came of that is the same as in run {nearest.run}"
    return f"its outputs of run {clean(nearest.run, 60)} are not stored any more"


def waits_for(run: Run, task: Task, known: Known) -> list[str]:
    """What must happen before the next attempt starts; nothing for a task that has ended or has an attempt out."""
    if run.ended or task.state in ENDED_STATES or task.is_open:
        return []
    return list(_waits_for(run, task, known))


def _waits_for(run: Run, task: Task, known: Known) -> Iterator[str]:
    if run.phase is RunPhase.CANCELLING:
        yield "nothing: the run is being cancelled"
        return
    if known.is_idle:
        yield f"somebody to host the run: `orchestrator resume {run.id}`"
    if run.paused is not None:
        reason = f": {clean(run.paused.reason)}" if run.paused.reason else ""
        yield f"the run, which is paused ({run.paused.kind}){reason}; `orchestrator resume {run.id}` lifts that"
    unmet = [run.tasks[run.index[name]] for name in dict.fromkeys(task.spec.depends_on)] if task.index >= 0 else []
    unmet = [other for other in unmet if other.state not in DONE_STATES]
    if unmet:
        more = f" and {len(unmet) - MAX_NAMED} more" if len(unmet) > MAX_NAMED else ""
        yield ", ".join(f"`{other.spec.id}` ({other.state.value})" for other in unmet[:MAX_NAMED]) + more
        return
    if task.state is TaskState.WAITING_RETRY and task.due_at > known.now:
        yield f"its retry, which is due in {duration((task.due_at - known.now) / 1000)}"
        return
    out = sum(other.index >= 0 for other in run.open.values())
    if out >= run.max_executors:
        yield f"a free executor: all {run.max_executors} are busy"
    yield from _agents(run, task)
    yield from _lane(run, task, known)


def _agents(run: Run, task: Task) -> Iterator[str]:
    """What stands in the way of an agent: others that may write the same, and money."""
    if not task.spec.agent:
        return
    others = list(in_the_way(run, task))
    if others:
        scope = clean(", ".join(task.spec.writes[:MAX_NAMED])) or "anything, because it declares no `writes`"
        names = _named([other.spec.id for other in others])
        yield f"the end of {names}, which may write the same files: it may write {scope}"
    left, needed = run.money.left, Allowance(run, FIRST_ESTIMATES).estimate(task)
    if left is not None and needed > left:
        spent = f"{account(run.money)} of at most {money_text(run.money.limit or 0)}"
        yield f"money: {spent}, and it may cost {money_text(needed)}"


def _lane(run: Run, task: Task, known: Known) -> Iterator[str]:
    lane, name, model = known.lane, run.lane_of(task), run.model_of(task)
    if lane is None or known.is_idle:
        return
    rest = lane.resting(model)
    if rest is not None:
        until = rest.until or 0
        left = f" for {duration((until - known.now) / 1000)}" if until > known.now else ""
        what = f"lane {name}" if lane.resting() is not None else f"model {clean(model, 60)} in lane {name}"
        yield f"{what}, which rests{left}: {clean(rest.reason or rest.short_of)}"
    elif not any(ability_for(run, task) in i.can_run and not i.draining for i in lane.instances.values()):
        yield f"a dispatcher of lane {name} that can run it; there is none"


def attempt_line(attempt: AttemptView) -> str:
    """One attempt with its class, reason and exit code."""
    name = f"attempt {attempt.attempt}{_in_round(attempt.round)}"
    if attempt.outcome is None:
        job = f", {text}" if (text := job_text(attempt)) else ""
        return f"{name}: {'running' if attempt.is_running else 'handed out'} in slot {attempt.slot}{job}"
    failure = f" ({attempt.failure})" if attempt.failure and attempt.outcome != "cancelled" else ""
    code = f", exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
    reason = f": {clean(attempt.reason)}" if attempt.reason else ""
    cost = cost_text(of_attempts([attempt]))
    took = f"after {duration(attempt.duration_s)}" + (f" ({cost})" if cost else "")
    return f"{name}: {attempt.outcome}{failure} {took}{code}{reason}"


def _in_round(round_: int) -> str:
    return f" of round {round_}" if round_ else ""


def _above(run: Run, task: Task) -> str:
    """Which tasks that failed this one depends on, directly or not."""
    seen, waiting, failed = set(task.spec.depends_on), list(task.spec.depends_on), []
    while waiting:
        other = run.tasks[run.index[waiting.pop()]]
        if other.state in (TaskState.FAILED, TaskState.CANCELLED):
            failed.append(other.spec.id)
        new = [name for name in other.spec.depends_on if name not in seen]
        seen.update(new)
        waiting += new
    if failed:
        return f"{_named(sorted(failed))} did not succeed"
    return "another task failed and the run stops at the first failure"


def _named(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names[:MAX_NAMED]]
    return _and([*shown, f"{len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else shown)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
