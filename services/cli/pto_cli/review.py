"""What a person is shown of a plan before it runs: its tasks, how they depend on each other, and what they will take.

Imports core, client's rules, proto and siblings; rich for the table. Invariants: what is not known is said to be
unknown, never nothing; text of a plan cannot move the cursor.
"""

import io
from collections.abc import Iterator
from textwrap import wrap

from pto_cli.plan_tree import tree_lines
from pto_cli.render import clean, count, duration, is_simulated, levels, money_line
from pto_core.forecast import forecast
from pto_core.money import money_text
from pto_core.views import RunView
from pto_proto.plans import Plan, TaskSpec

MAX_ROWS = 60
"""Tasks in the table; a longer plan is read as a file."""
MAX_NAMES = 4
"""Dependencies, and patterns, in one cell."""


def awaits_review(view: RunView) -> bool:
    """Whether the run waits for a person's word about its plan."""
    run = view.run
    return run is not None and run.phase.value == "awaiting-approval" and run.plan is not None and run.edit is None


def how_to_answer(run: str, *, is_remote: bool = False) -> str:
    """What to type about a plan that waits."""
    at = " --nats-url URL" if is_remote else ""
    return (
        f"run {run} waits for approval of its plan: `orchestrator approve {run}{at}`, or with --edit FILE, or with "
        f"--reject [REASON]; `orchestrator resume {run}{at}` shows the plan again"
    )


def review_lines(view: RunView, width: int, edited: Plan | None = None) -> list[str]:
    """The whole review of the plan that waits, or of the ``edited`` one that may take its place."""
    run, plan = view.run, edited or view.plan()
    if run is None or run.plan is None or plan is None:
        return []
    by_level = levels(plan)
    lines = [
        f"plan: {clean(plan.name or run.request.name, 100) or 'without a name'}{' (edited)' if edited else ''}"
        f"{', SIMULATED' if is_simulated(view) else ''}",
        f"{count(len(plan.tasks), 'task')} in {count(len(by_level), 'level')}, at most "
        f"{min(run.max_executors, max(map(len, by_level)))} at once",
    ]
    if edited is None and run.plan.complexity is not None:
        rationale = f": {clean(run.plan.rationale)}" if run.plan.rationale else ""
        lines += wrap(f"complexity {run.plan.complexity} of 100{rationale}", width)
    lines += ["", *_table(plan, width)]
    if len(plan.tasks) > MAX_ROWS:
        lines.append(f"and {count(len(plan.tasks) - MAX_ROWS, 'task')} more; `orchestrator approve {run.id} --yaml`")
    lines += ["", *tree_lines(plan, width), ""]
    lines += [f"check on the merged tree: {clean(check)}" for check in plan.checks]
    return [*lines, *_forecast_lines(plan, run.max_executors), *_cost_lines(plan, view)]


def _table(plan: Plan, width: int) -> list[str]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for head, percent in (("task", 25), ("what", 100), ("after", 20), ("writes", 35)):
        table.add_column(head, overflow="fold", max_width=width * percent // 100, min_width=len(head))
    table.add_column("time", justify="right", no_wrap=True)
    for spec in plan.tasks[:MAX_ROWS]:
        estimate = "unknown" if spec.estimate_s is None else duration(spec.estimate_s)
        cells = (clean(spec.id), _what(spec), "\n".join(_few(spec.depends_on)), "\n".join(_scope(spec)))
        table.add_row(*map(Text, cells), "-" if spec.noop and spec.estimate_s is None else estimate)
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False, legacy_windows=False).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _what(spec: TaskSpec) -> str:
    """What a task does, in a few words."""
    command = spec.command if isinstance(spec.command, str) else " ".join(spec.command)
    text = spec.title or spec.agent or command
    kind = "agent" if spec.agent else "command" if spec.command else "nothing"
    return f"{kind}: {clean(text, 60)}" if text else kind


def _scope(spec: TaskSpec) -> list[str]:
    """Where it may write, or what it says that it makes."""
    return ["-"] if spec.noop else _few(spec.writes or spec.outputs, nothing="anything")


def _few(names: tuple[str, ...], nothing: str = "-") -> list[str]:
    more = [f"and {len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else []
    return [*(clean(name, 80) for name in names[:MAX_NAMES]), *more] or [nothing]


def _forecast_lines(plan: Plan, executors: int) -> Iterator[str]:
    found = forecast(plan.tasks, executors)
    one_by_one = f" ({duration(found.work_s)} one by one)" if len(plan.tasks) > 1 else ""
    if not found.unknown:
        yield f"time: about {duration(found.wall_s)} with {executors} at once{one_by_one}, by the tasks' estimates"
    elif found.work_s:
        without = f"{found.unknown} of {count(len(plan.tasks), 'task')} have no estimate"
        yield f"time: unknown, at least {duration(found.wall_s)} with {executors} at once: {without}"
    else:
        yield "time: unknown, because no task has an estimate"


def _cost_lines(plan: Plan, view: RunView) -> Iterator[str]:
    """What was spent so far, and what is known of what the tasks will cost."""
    run = view.run
    agents = sum(bool(spec.agent) for spec in plan.tasks)
    if spent := money_line(view):
        yield f"tokens and money so far: {spent}"
    if not agents:
        yield "tokens and money of the tasks: none, no task asks a model"
    elif run is not None and run.request.engine == "simulated":
        yield "tokens and money of the tasks: none, the simulated engine asks no model"
    else:
        limit = run.money.limit if run is not None else None
        until = "" if limit is None else f"; the run pauses before it comes to more than {money_text(limit)}"
        what = f"unknown, nothing tells before it runs what {count(agents, 'agent task')} will cost"
        yield f"tokens and money of the tasks: {what}{until}"
