"""``orchestrator explain RUN TASK``: why a task ran or did not run, what it waits for, and what became of its attempts.

Imports siblings. Invariant: it changes nothing.
"""

import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from pto_cli.arguments import command_parser, parse, reach_view
from pto_cli.problems import EXIT_OK, WrongUse

if TYPE_CHECKING:
    from pto_cli.explanation import Known
    from pto_core.state import Task
    from pto_core.views import RunView


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("explain", "Say why a task ran or did not run, and what it waits for.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _explain(typed))


async def _explain(typed: Namespace) -> int:
    from pto_cli.conduct import now_ms
    from pto_cli.earlier import earlier_successes, lane_state
    from pto_cli.explanation import Known
    from pto_cli.progress import write_lines

    async with reach_view(typed) as (access, follower):
        view = follower.view
        task = _find(view, typed)
        run = view.run
        if run is None or task is None:
            write_lines([_without_plan(view, typed)])
            return EXIT_OK
        known = Known(
            now=now_ms(),
            earlier=await earlier_successes(access, run, task),
            lane=None if run.ended else await lane_state(access, run.lane_of(task)),
            is_idle=access.host is not None and not run.ended,
        )
        about = _about(view, task, known)
        write_lines([json.dumps(about)] if typed.json else _lines(about))
    return EXIT_OK


def _find(view: "RunView", typed: Namespace) -> "Task | None":
    """The task; None while there is no plan that could have it. Raises WrongUse."""
    run = view.run
    task = run.task(typed.task) if run is not None else None
    if task is not None or run is None or (not run.settled and not run.ended):
        return task
    from difflib import get_close_matches

    near = get_close_matches(typed.task, list(run.index), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"`orchestrator status {typed.run}` shows them"
    raise WrongUse(f"run {typed.run} has no task {typed.task[:80]!r}; {hint}")


def _without_plan(view: "RunView", typed: Namespace) -> str:
    from pto_cli.render import state_of

    sentence = f"run {typed.run} is {state_of(view)}; it has no plan yet that could have a task {typed.task!r}"
    return json.dumps({"run": typed.run, "task": typed.task, "state": "", "what": sentence}) if typed.json else sentence


def _about(view: "RunView", task: "Task", known: "Known") -> dict[str, Any]:
    from pto_cli.explanation import attempt_line, state_sentence, waits_for, why_it_runs
    from pto_core.reuse import wants_reuse
    from pto_core.transitions import TaskState

    run, name = view.run, task.spec.id
    assert run is not None  # noqa: S101 - its caller has just looked
    reused = run.reused.get(name)
    attempts = view.attempts.get(name, [])
    is_asked = bool(attempts) or (task.state is TaskState.PLANNED and wants_reuse(run))
    return {
        "run": run.id,
        "task": name,
        "state": task.state.value,
        "what": state_sentence(view, task, known),
        "because": why_it_runs(run, task, known) if is_asked else None,
        "reused_from": {"run": reused.source_run, "task": reused.source_task} if reused is not None else None,
        "reopened": [
            {"round": entry.round, "evidence": entry.evidence} for entry in view.reopened if entry.task == name
        ],
        "waits_for": waits_for(run, task, known),
        "attempts": [
            {
                "attempt": attempt.attempt,
                "round": attempt.round,
                "outcome": attempt.outcome,
                "failure": attempt.failure,
                "reason": attempt.reason,
                "hint": attempt.hint,
                "exit_code": attempt.exit_code,
                "slot": attempt.slot,
                "instance": attempt.instance,
                "duration_s": attempt.duration_s,
                "text": attempt_line(attempt),
            }
            for attempt in attempts
        ],
    }


def _lines(about: dict[str, Any]) -> list[str]:
    from pto_cli.render import clean

    lines = [f"{about['task']} of run {about['run']}: {about['what']}"]
    if about["because"]:
        lines.append(f"{'ran' if about['attempts'] else 'will run'} because {about['because']}")
    for entry in about["reopened"]:
        lines.append(f"reopened for round {entry['round']}:")
        lines += [f"    {clean(line)}" for line in entry["evidence"].splitlines()]
    lines += [f"waits for {what}" for what in about["waits_for"]]
    lines += [attempt["text"] for attempt in about["attempts"]]
    return lines
