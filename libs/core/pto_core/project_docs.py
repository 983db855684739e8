"""The texts that come with a merged project: README.md and docs/execution.md.

Pure; imports siblings only. Invariant: no time, slot or host name is in them, and no run but those whose outputs were
taken over, so that the same plan with the same results gives the same bytes wherever it ran, also when services were
killed on the way.
"""

from collections.abc import Iterable, Sequence

from pto_core.consolidation import Consolidated
from pto_core.state import Run, Task
from pto_core.transitions import DONE_STATES
from pto_core.views import RunView
from pto_proto.plans import TaskSpec

MAX_TITLE_CHARS = 100
NOT_ITS_OWN = ("infra", "capacity", "config", "budget")
"""Failures that say nothing about the task; their number and words differ from run to run and from host to host."""
SIMULATED = "SIMULATED: the content was made by the simulated engine, without any model."


def is_simulated(view: RunView) -> bool:
    """Whether anything of the run was made by the simulated engine."""
    run = view.run
    if run is None or run.request.engine != "simulated":
        return False
    planned = run.plan is not None and run.plan.engine == "simulated"
    return planned or any(task.spec.agent for task in run.tasks)


def render_readme(view: RunView, parts: Sequence[tuple[str, str]], paths: Iterable[str]) -> str:
    """The project's README: what it is, how to run and test it, then each task's own (task, text)."""
    run, plan = view.run, view.plan()
    title = _line((plan.name if plan else "") or (run.request.name if run else "") or "Project")
    lines = [f"# {title}", ""]
    if is_simulated(view):
        lines += [f"> {SIMULATED}", ""]
    if run is not None and run.request.requirement and _line(run.request.requirement) != title:
        lines += [f"Requirement: {_line(run.request.requirement)}", ""]
    missing = _missing(view)
    if missing:
        lines += [f"**Incomplete**: {len(missing)} of {len(run.tasks) if run else 0} tasks gave nothing: "
                  f"{', '.join(missing[:20])}. See docs/execution.md.", ""]  # fmt: skip
    lines += _how_to(list(paths))
    for task, text in parts:
        body = text.strip()
        if body:
            lines += ["", f"<!-- from task {task} -->", "", body]
    return "\n".join([*lines, "", "How it was made: [docs/execution.md](docs/execution.md).", ""])


def render_execution_doc(view: RunView, merged: Consolidated) -> str:
    """Plan, who made which file, attempts, conflicts, and what is missing."""
    run = view.run
    lines = ["# Execution", ""]
    if is_simulated(view):
        lines += [SIMULATED, ""]
    if run is not None and run.plan is not None and run.plan.complexity is not None:
        lines += [f"Complexity {run.plan.complexity} of 100. {_line(run.plan.rationale)}", ""]
    lines += ["## Plan", "", "| task | does | after | state | attempts |", "|---|---|---|---|---|"]
    for task in run.tasks if run else ():
        spec = task.spec
        attempts = sum(attempt.failure not in NOT_ITS_OWN for attempt in view.attempts.get(spec.id, ()))
        after = ", ".join(spec.depends_on) or "-"
        lines.append(f"| {spec.id} | {_cell(spec.title or _does(spec))} | {after} | {task.state.value} | {attempts} |")
    if view.reopened:
        lines += ["", "## Reopened", "", "A check on the merged project failed and was traced to these tasks.", ""]
        lines += [f"- {entry.task}, round {entry.round}: {_first_line(entry.evidence)}" for entry in view.reopened]
    if run is not None and run.reused:
        lines += ["", "## Taken over", "", *_taken_over(run)]
    lines += ["", "## Files", "", "| file | task |", "|---|---|"]
    lines += [f"| {_escaped(file.path)} | {file.task} |" for file in merged.files]
    if merged.conflicts:
        lines += ["", "## Conflicts", ""]
        lines += [
            f"- `{c.path}`: {', '.join(c.tasks)} wrote different versions; {c.resolution}" for c in merged.conflicts
        ]
    if merged.refused:
        lines += ["", "## Refused", "", *(f"- {name}" for name in merged.refused)]
    failed = [task for task in (run.tasks if run else ()) if task.state not in DONE_STATES]
    if failed:
        lines += ["", "## Missing", ""]
        lines += [f"- {task.spec.id}: {task.state.value}{_why(task)}" for task in failed]
    return "\n".join([*lines, ""])


def _taken_over(run: Run) -> list[str]:
    """By the runs in which the tasks succeeded, in plan order."""
    tasks: dict[str, list[str]] = {}
    for task in run.tasks:
        if task.spec.id in run.reused:
            tasks.setdefault(run.reused[task.spec.id].source_run, []).append(task.spec.id)
    return [f"- from run {_escaped(_line(source))}: {', '.join(names)}" for source, names in tasks.items()]


def _missing(view: RunView) -> list[str]:
    return [task.spec.id for task in (view.run.tasks if view.run else ()) if task.state not in DONE_STATES]


def _why(task: Task) -> str:
    if task.failure in NOT_ITS_OWN:
        return f", by a failure of the class {task.failure}; see orchestrator.log"
    return f", {_line(task.reason)}" if task.reason else ""


def _how_to(paths: list[str]) -> list[str]:
    lines = ["## Run and test", ""]
    mains = [path for path in paths if path.endswith("__main__.py") or path in ("src/main.py", "src/app.py")]
    if mains:
        lines += ["```sh", *(_start(path) for path in sorted(mains)[:3]), "```", ""]
    if any(path.startswith("tests/") and path.endswith(".py") for path in paths):
        lines += ["```sh", "python3 -m pytest -q", "```"]
    elif not mains:
        lines += ["The files below `data/`, `src/` and `docs/` are the results; there is nothing to start."]
    return lines


def _start(path: str) -> str:
    if path.endswith("/__main__.py"):
        folder, _, package = path.removesuffix("/__main__.py").rpartition("/")
        return f"{f'PYTHONPATH={folder} ' if folder else ''}python3 -m {package}"
    return f"python3 {path}"


def _does(spec: TaskSpec) -> str:
    command = spec.command if isinstance(spec.command, str) else " ".join(spec.command)
    return "noop" if spec.noop else command or spec.agent


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TITLE_CHARS else line[: MAX_TITLE_CHARS - 3] + "..."


def _first_line(text: str) -> str:
    return _line("".join(text.splitlines()[:1]))


def _cell(text: str) -> str:
    return _escaped(_line(text))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
