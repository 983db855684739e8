"""What is shown about runs, as text: pure functions from views and plans to lines.

Imports core and proto only. Invariant: the same view gives the same lines; text from tasks is shown without control
characters, so that no output of a task can move the cursor of whoever looks on.
"""

from collections.abc import Iterator, Sequence

from pto_core.graph import build_graph
from pto_core.money import account, money_text
from pto_core.project_docs import is_simulated as made_by_simulation
from pto_core.spending import Spending, of_attempts, of_run, tokens
from pto_core.state import Run, Task
from pto_core.transitions import DONE_STATES, ENDED_STATES, RunPhase, TaskState
from pto_core.views import AttemptView, RunView
from pto_proto.events import RunConsolidated
from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan

MAX_WAITING_SHOWN = 3
MAX_WAITING_LOOKED_AT = 2_000
"""Tasks looked at for what waits: enough to find some, few enough to do four times a second."""
MAX_LEVEL_SHOWN = 8
"""Task ids shown of one level of a plan; the rest is counted."""
MAX_CHAIN_SHOWN = 12
SYSTEM = {"_plan": "planning", "_edit": "writing down the edited plan", "_merge": "merging the outputs"}


def clean(text: str, limit: int = 300) -> str:
    """``text`` on one line, printable, not too long."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3:05``, ``2:03:04``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be, two spaces apart."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return [line.rstrip() for line in lines]


def is_simulated(view: RunView) -> bool:
    """Whether anything of the run is, or will be, made up by the simulated engine instead of a model."""
    run = view.run
    is_asked = run is not None and run.request.engine == "simulated" and bool(run.request.requirement)
    return is_asked or made_by_simulation(view)


# --- plans -----------------------------------------------------------------------------------------------------------


def levels(plan: Plan) -> list[list[TaskId]]:
    """Task ids by how many tasks must end before: what could run at once with enough executors."""
    depth: dict[TaskId, int] = {}
    waiting = {spec.id: len(set(spec.depends_on)) for spec in plan.tasks}
    children: dict[TaskId, list[TaskId]] = {}
    for spec in plan.tasks:
        for name in set(spec.depends_on):
            children.setdefault(name, []).append(spec.id)
    order = [spec.id for spec in plan.tasks if not waiting[spec.id]]
    for name in order:
        for child in children.get(name, ()):
            depth[child] = max(depth.get(child, 0), depth.get(name, 0) + 1)
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    found: list[list[TaskId]] = [[] for _ in range(max((depth.get(name, 0) for name in order), default=-1) + 1)]
    for spec in plan.tasks:
        found[depth.get(spec.id, 0)].append(spec.id)
    return found


def longest_chain(plan: Plan) -> list[str]:
    """The chain of dependent tasks with the longest estimated time."""
    graph = build_graph(plan.tasks)
    if not plan.tasks:
        return []
    at: int | None = graph.by_rank[-1]
    chain: list[str] = []
    while at is not None:
        chain.append(plan.tasks[at].id)
        at = max(graph.children[at], key=lambda child: graph.rank[child], default=None)
    return chain


def plan_lines(plan: Plan, notes: Sequence[str] = ()) -> list[str]:
    """A plan for people: its levels, its longest chain, its checks."""
    by_level = levels(plan)
    widest = max(map(len, by_level))
    lines = [f"plan: {clean(plan.name) or 'without a name'}", *notes]
    lines.append(f"{count(len(plan.tasks), 'task')} in {count(len(by_level), 'level')}, at most {widest} at once")
    titles = {spec.id: spec.title for spec in plan.tasks}
    for number, names in enumerate(by_level, 1):
        more = f" and {len(names) - MAX_LEVEL_SHOWN} more" if len(names) > MAX_LEVEL_SHOWN else ""
        if len(names) == 1 and titles[names[0]]:
            lines.append(f"  {number}. {names[0]}: {clean(titles[names[0]])}")
        else:
            lines.append(f"  {number}. {', '.join(names[:MAX_LEVEL_SHOWN])}{more}")
    chain = longest_chain(plan)
    shown = [*chain[: MAX_CHAIN_SHOWN - 1], "...", chain[-1]] if len(chain) > MAX_CHAIN_SHOWN else chain
    lines.append(f"longest chain: {' -> '.join(shown)}")
    lines += [f"check on the merged tree: {clean(check)}" for check in plan.checks]
    return lines


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- one run ---------------------------------------------------------------------------------------------------------


def state_of(view: RunView) -> str:
    """The run's state in one word, or two when it is paused."""
    run = view.run
    if run is None:
        return "refused" if view.refused else "requested"
    return f"{run.phase.value}, paused" if run.paused is not None and not run.ended else run.phase.value


def counts_line(run: Run) -> str:
    """``3 of 6 done, 1 reused, 2 running, 1 waiting for a retry``."""
    words = [f"{sum(run.counts.get(state, 0) for state in DONE_STATES)} of {len(run.tasks)} done"]
    for state, what in (
        (TaskState.REUSED, "reused"),
        (TaskState.RUNNING, "running"), (TaskState.READY, "starting"), (TaskState.WAITING_RETRY, "waiting for a retry"),
        (TaskState.FAILED, "failed"), (TaskState.SKIPPED, "skipped"), (TaskState.CANCELLED, "cancelled"),
    ):  # fmt: skip
        if run.counts.get(state):
            words.append(f"{run.counts[state]} {what}")
    return ", ".join(words)


def money_line(view: RunView) -> str:
    """``$1.20 spent, $0.50 reserved of at most $5.00, 120,000 tokens``; empty where no model is asked for money."""
    run = view.run
    spent = of_run(view)
    if run is None or (spent.is_nothing and run.money.limit is None):
        return ""
    limit = "" if run.money.limit is None else f" of at most {money_text(run.money.limit)}"
    used = f", {tokens(spent.usage):,} tokens" if tokens(spent.usage) else ""
    return f"{account(run.money)}{limit}{used}"


def cost_text(spent: Spending) -> str:
    """``$0.12``, ``$0.12 + unknown``, ``up to $0.50`` for what is out, with the tokens; empty for nothing."""
    words = [f"${spent.known_usd:.2f}"] if spent.known_usd else []
    words += ["unknown"] if spent.unknown else []
    words += [f"up to ${spent.reserved_usd:.2f}"] if spent.reserved_usd else []
    used = f"{tokens(spent.usage):,} tokens" if tokens(spent.usage) else ""
    return ", ".join(filter(None, (" + ".join(words), used)))


def slot_rows(view: RunView, now: int) -> list[tuple[int, str, str]]:
    """(slot, what runs there, for how long) of all executors that are busy, system tasks as slot -1."""
    rows = []
    run = view.run
    for task in run.open.values() if run is not None else ():
        attempt = view.last(task.spec.id)
        since = (attempt.started_at or attempt.ready_at or now) if attempt is not None else now
        name = SYSTEM.get(task.spec.id) or _with_attempt(task.spec.id, task.attempt)
        what = f"{name} (being stopped)" if task.stopping else name
        what = f"{what} (no news)" if attempt is not None and attempt.unknown else what
        job = job_text(attempt) if attempt is not None else ""
        what = f"{what}: {job}" if job else what
        rows.append((task.slot if task.index >= 0 else -1, what, duration((now - since) / 1000)))
    return sorted(rows)


def job_text(attempt: AttemptView) -> str:
    """``job 4711 PENDING (Priority)``: the backend's own words about an attempt that is out; empty without any."""
    if not attempt.is_out or not attempt.job_state:
        return ""
    name = f"job {clean(attempt.job, 40)} " if attempt.job else ""
    detail = f" ({clean(attempt.job_detail, 80)})" if attempt.job_detail else ""
    return f"{name}{clean(attempt.job_state, 40)}{detail}"


def waiting_lines(view: RunView, now: int) -> list[str]:
    """What waits for its retry, and some of what waits for other tasks."""
    run = view.run
    if run is None:
        return []
    lines = []
    for task in run.delayed[:MAX_WAITING_SHOWN]:
        left = max(0, task.due_at - now) / 1000
        lines.append(f"{task.spec.id} tries again in {duration(left)}: {clean(task.reason, 80)}")
    if run.phase is RunPhase.AWAITING_APPROVAL and run.edit is None:
        lines.append(f"the plan waits for approval: `orchestrator approve {run.id}`")
    found = 0
    for task in run.tasks[:MAX_WAITING_LOOKED_AT]:
        if task.state is TaskState.PLANNED and task.unmet and found < MAX_WAITING_SHOWN:
            found += 1
            lines.append(f"{task.spec.id} waits for {', '.join(unmet(run, task))}")
    return lines


def unmet(run: Run, task: Task) -> list[str]:
    """Some of the tasks that this one waits for."""
    names = [name for name in task.spec.depends_on if run.tasks[run.index[name]].state not in DONE_STATES]
    return [*names[:MAX_WAITING_SHOWN], *(["..."] if len(names) > MAX_WAITING_SHOWN else [])]


def _with_attempt(task: str, attempt: int) -> str:
    return task if attempt <= 1 else f"{task} (attempt {attempt})"


def status_lines(view: RunView, now: int) -> list[str]:
    """Everything about one run, for ``orchestrator status``."""
    run = view.run
    if run is None:
        return [state_of(view), *(clean(str(reason)) for refused in view.refused for reason in refused.reasons)]
    end = view.finished_at or now
    lines = [
        f"{run.id}: {state_of(view)} after {duration((end - run.accepted_at) / 1000)}",
        f"name: {clean(run.request.name or run.request.requirement)}",
        f"at most {run.max_executors} at once on {run.request.backend}" + (", SIMULATED" if is_simulated(view) else ""),
    ]
    if run.paused is not None and not run.ended:
        lines.append(f"paused ({run.paused.kind}): {clean(run.paused.reason, 600)}")
    if run.phase is RunPhase.AWAITING_APPROVAL and run.plan is not None:
        what = "its edited plan is being written down" if run.edit is not None else "waits for a person's approval"
        lines.append(f"plan of {count(run.plan.task_count, 'task')} {what}: {run.plan.plan_digest}")
    if run.tasks:
        money = money_line(view)
        head = ("task", "state", "slot", "attempts", "time", *(("cost",) if money else ()), "what")
        lines += [counts_line(run), *([money] if money else []), "", *table(head, _task_rows(view, now, bool(money)))]
    if view.finished is not None and view.finished.reason:
        lines += ["", clean(view.finished.reason)]
    return lines


def _task_rows(view: RunView, now: int, has_costs: bool) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for task in view.run.tasks if view.run is not None else ():
        last = view.last(task.spec.id)
        time = ""
        if last is not None and last.started_at is not None:
            time = duration(last.duration_s if last.finished_at is not None else (now - last.started_at) / 1000)
        slot = str(last.slot) if last is not None else ""
        attempts = str(len(view.attempts.get(task.spec.id, ()))) if last is not None else ""
        cost = (cost_text(of_attempts(view.attempts.get(task.spec.id, ()))),) if has_costs else ()
        rows.append((task.spec.id, task.state.value, slot, attempts, time, *cost, _what(view, task, last)))
    return rows


def _what(view: RunView, task: Task, last: AttemptView | None) -> str:
    run = view.run
    if run is not None and task.state is TaskState.PLANNED and task.unmet:
        return f"waits for {', '.join(unmet(run, task))}"
    if run is not None and task.state is TaskState.REUSED:
        return f"taken over from run {clean(run.reused[task.spec.id].source_run, 60)}"
    if last is not None and (job := job_text(last)):
        return job
    if last is not None and last.outcome not in (None, "succeeded"):
        return clean(last.reason, 100)
    if task.round:
        return f"round {task.round}: {clean(task.spec.title, 60)}".rstrip(": ")
    return clean(task.spec.title, 60)


def _red_lines(run: RunId, merged: RunConsolidated) -> Iterator[str]:
    for check in merged.checks:
        if not check.passed:
            yield f"check on the merged tree failed: {clean(check.command)}"
            yield from (f"    {clean(line)}" for line in check.tail[-5:])
    if merged.culprit:
        yield f"    traced to {merged.culprit}; `orchestrator explain {run} {merged.culprit}` tells its rounds"
    elif merged.evidence:
        yield f"    {clean(merged.evidence)}"


def end_lines(view: RunView) -> Iterator[str]:
    """What a person must know after the end: failures with their last words, conflicts, red checks."""
    run = view.run
    if run is None:
        return
    for task in run.tasks:
        last = view.last(task.spec.id)
        if task.state not in ENDED_STATES or task.state in DONE_STATES or last is None or last.outcome == "succeeded":
            continue
        yield f"{task.spec.id} {task.state.value} (attempt {last.attempt}): {clean(last.reason)}"
        yield from (f"    {clean(line)}" for line in last.tail[-5:])
        if last.hint:
            yield f"    {clean(last.hint)}"
    if view.consolidated is not None:
        for conflict in view.consolidated.conflicts:
            yield f"conflict: {clean(conflict.path)} by {', '.join(conflict.tasks)}: {clean(conflict.resolution)}"
        yield from _red_lines(run.id, view.consolidated)
        for refused in view.consolidated.refused:
            yield f"not taken over: {clean(refused)}"
    if view.finished is not None and view.finished.unconfirmed:
        yield f"nobody confirmed the end of: {', '.join(view.finished.unconfirmed)}"
