"""What is said and returned when a run is not followed any more.

Imports core and siblings. Invariant: the exit code follows from the run's state alone (design §7).
"""

import json
import sys
from pathlib import Path

from pto_cli.conduct import End
from pto_cli.problems import (
    EXIT_ENVIRONMENT,
    EXIT_INTERRUPTED,
    EXIT_NOT_SUCCEEDED,
    EXIT_OK,
    EXIT_PAUSED,
    code_of_refusal,
    complain,
)
from pto_cli.progress import write_lines
from pto_cli.render import clean, count, counts_line, duration, end_lines, is_simulated, money_line
from pto_cli.review import how_to_answer
from pto_core import measures
from pto_core.views import RunView

WORTH_SAYING = 1.05
"""Speed-up that is not just noise."""


def exit_code(view: RunView, end: End) -> int:
    """The exit code for this end."""
    if end == "ended" and view.finished is not None:
        return EXIT_OK if view.finished.status == "succeeded" else EXIT_NOT_SUCCEEDED
    if end == "refused":
        return code_of_refusal(str(reason) for refused in view.refused for reason in refused.reasons)
    codes = {"paused": EXIT_PAUSED, "awaiting": EXIT_PAUSED, "host-gone": EXIT_ENVIRONMENT}
    return codes.get(end, EXIT_INTERRUPTED)


def say_end(
    view: RunView, end: End, *, output_dir: Path | None, json_lines: bool, quiet: bool, is_remote: bool = False
) -> None:
    """Tell what became of the run: problems on standard error, the result on standard output."""
    run = view.run.id if view.run is not None else view.id
    if end == "refused":
        complain(clean(str(reason)) for refused in view.refused for reason in refused.reasons)
    elif end == "interrupted":
        complain([f"interrupted; `orchestrator resume {run}` picks it up"])
    elif end == "host-gone":
        complain([f"the process that hosted run {run} has ended; `orchestrator resume {run}` picks it up"])
    elif end == "awaiting":
        complain([how_to_answer(str(run), is_remote=is_remote)])
    elif end == "paused" and view.run is not None and view.run.paused is not None:
        reason = clean(view.run.paused.reason, 600)
        after = "" if "orchestrator resume" in reason else f"; then `orchestrator resume {run}`"
        complain([f"run {run} is paused: {reason.removesuffix('.').removesuffix(', then resume the run')}{after}"])
    elif json_lines:
        _print_summary(output_dir)
    else:
        for line in end_lines(view):
            sys.stderr.write(line + "\n")
        if not quiet:
            write_lines(result_lines(view, output_dir))


def result_lines(view: RunView, output_dir: Path | None) -> list[str]:
    """The result in a few lines."""
    run, finished = view.run, view.finished
    if run is None or finished is None:
        return []
    simulated = "SIMULATED, " if is_simulated(view) else ""
    lines = [f"{finished.status}: {simulated}{counts_line(run)}, in {duration(measures.wall_s(view))}{_gain(view)}"]
    if view.consolidated is not None:
        lines[0] += f"; {count(view.consolidated.files, 'file')}, {count(view.consolidated.lines, 'line')} of code"
    if money := money_line(view):
        lines.append(money)
    if finished.reason:
        lines.append(clean(finished.reason))
    lines.append(f"run {run.id}" + (f", output in {output_dir}" if output_dir is not None else ""))
    return lines


def _gain(view: RunView) -> str:
    """How much faster than one task after the other; only worth saying of several that took some time."""
    gained = measures.speed_up(view)
    return f" ({gained:.1f} times as fast as one by one)" if gained and gained >= WORTH_SAYING else ""


def _print_summary(output_dir: Path | None) -> None:
    if output_dir is None:
        return
    try:
        summary = json.loads((output_dir / "execution_summary.json").read_text())
    except (OSError, ValueError):
        return
    write_lines([json.dumps({"summary": summary})])
