"""``orchestrator approve RUN``: approves, edits or rejects the plan of a run that waits for it.

Imports siblings; what runs is imported when it runs. Invariants: exit 0 means that the scheduler has taken the answer,
or that the run which this command then hosted has succeeded; an answer names the plan that waited when it was read.
"""

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from pto_cli.arguments import command_parser, granted, parse, reach_view
from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_OK, Unavailable, WrongUse

if TYPE_CHECKING:
    from pto_cli.access import Access
    from pto_cli.reviewer import Answer
    from pto_client.follower import Follower


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("approve", "Approve, edit or reject the plan of a run that waits for it.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--edit", metavar="FILE", help="run the plan in this file (YAML or JSON) instead")
    parser.add_argument("--reject", metavar="REASON", nargs="?", const="", help="reject it: the run ends as cancelled")
    parser.add_argument("--show", action="store_true", help="show the plan and change nothing")
    parser.add_argument("--yaml", action="store_true", help="print the plan as a file to edit, and change nothing")
    parser.add_argument("--plan-digest", metavar="DIGEST", help="only if this plan waits (`status --json` tells it)")
    parser.add_argument("--detach", action="store_true", help="go on in the background if nobody hosts the run")
    parser.add_argument("--json", action="store_true", help="print events and the summary as JSON lines")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but problems")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more: what tasks print, too")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    chosen = [f"--{name}" for name in ("edit", "reject", "show", "yaml") if getattr(typed, name) not in (None, False)]
    if len(chosen) > 1:
        raise WrongUse(f"approve: {' and '.join(chosen)}: choose one")
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _approve(typed, stop))


async def _approve(typed: Namespace, stop: asyncio.Event) -> int:
    from pto_cli.conduct import ask_and_wait

    async with reach_view(typed) as (access, follower):
        if typed.show or typed.yaml:
            return _show(typed, follower)
        answer = await _answer(typed, access, follower)
        is_idle = access.host is not None
        if not is_idle:
            granted(await ask_and_wait(access, follower, answer))
            _say_taken(typed)
            return EXIT_OK
    return await (_in_background(typed, answer) if typed.detach else _host(typed, answer, stop))


async def _answer(typed: Namespace, access: "Access", follower: "Follower") -> "Answer":
    """What was typed, as a request. Raises WrongUse."""
    from pto_cli.reviewer import approval, edited_plan, rejection, waiting_digest
    from pto_client.plan_file import PlanFileError

    _check_waiting(typed, follower)
    waiting = waiting_digest(follower)
    if typed.plan_digest not in (None, waiting):
        raise WrongUse(f"--plan-digest: another plan waits for approval: {waiting}")
    if typed.reject is not None:
        return rejection(follower, typed.reject)
    if typed.edit is None:
        return await approval(access, follower)
    try:
        edited = await edited_plan(Path(typed.edit), access, follower)
    except PlanFileError as error:
        raise WrongUse(*map(str, error.problems)) from error
    return await approval(access, follower, edited)


def _check_waiting(typed: Namespace, follower: "Follower") -> None:
    """Raise WrongUse if there is nothing to answer for."""
    from pto_cli.render import state_of
    from pto_cli.review import awaits_review

    run = follower.view.run
    if awaits_review(follower.view):
        return
    if run is not None and run.ended:
        raise WrongUse(f"run {typed.run} has already ended as {run.phase.value}")
    if run is not None and run.edit is not None and not run.settled:
        raise WrongUse(f"the plan of run {typed.run} was edited already; the edited one runs next")
    later = "; its plan is not there yet" if run is not None and run.request.approve and run.plan is None else ""
    raise WrongUse(f"run {typed.run} does not wait for approval, it is {state_of(follower.view)}{later}")


def _show(typed: Namespace, follower: "Follower") -> int:
    from pto_cli.progress import write_lines
    from pto_cli.review import review_lines
    from pto_cli.terminal import columns
    from pto_client.plan_yaml import plan_yaml

    plan = follower.view.plan()
    if plan is None:
        _check_waiting(typed, follower)
    elif typed.yaml:
        write_lines(plan_yaml(plan).splitlines())
    else:
        write_lines(review_lines(follower.view, columns()))
    return EXIT_OK


def _say_taken(typed: Namespace) -> None:
    from pto_cli.progress import write_lines

    if typed.quiet:
        return
    at = " --nats-url URL" if typed.nats_url else ""
    if typed.reject is not None:
        write_lines([f"the plan of run {typed.run} is rejected; the run ends as cancelled"])
    else:
        what = "edited" if typed.edit else "approved"
        write_lines([f"the plan of run {typed.run} is {what}; `orchestrator watch {typed.run}{at}` follows the run"])


async def _host(typed: Namespace, answer: "Answer", stop: asyncio.Event) -> int:
    """Nobody hosts the run: do it here, from the answer to the end."""
    from pto_cli.ending import exit_code, say_end
    from pto_cli.hosting import host
    from pto_cli.job import read_job
    from pto_cli.progress import make_progress
    from pto_cli.registry import run_folder
    from pto_cli.reviewer import prepared

    folder = run_folder(typed.run)
    note = folder.read_note()
    if note is None:
        raise WrongUse(f"there is no run {typed.run!r} here; `orchestrator list` shows the runs")
    progress = make_progress(json=typed.json, quiet=typed.quiet, verbose=typed.verbose)
    is_loud = typed.verbose and not typed.json
    view, end = await host(
        folder, note, read_job(folder), progress, stop, verbose=is_loud, review=prepared(answer)
    )  # fmt: skip
    if typed.reject is not None and end == "ended":
        _say_taken(typed)
        return EXIT_OK
    say_end(view, end, output_dir=Path(note.output_dir), json_lines=typed.json, quiet=typed.quiet)
    return exit_code(view, end)


async def _in_background(typed: Namespace, answer: "Answer") -> int:
    """Nobody hosts the run: start a process that does, then give it the answer."""
    from pto_cli.background import READY, start_host
    from pto_cli.conduct import ask_and_wait
    from pto_cli.registry import run_folder

    said = await asyncio.to_thread(start_host, run_folder(typed.run))
    if said != READY:
        raise Unavailable(said.decode(errors="replace").strip() or "the process that should host the run ended at once")
    async with reach_view(typed) as (access, follower):
        if access.host is not None:
            return EXIT_ENVIRONMENT
        granted(await ask_and_wait(access, follower, answer))
    _say_taken(typed)
    return EXIT_OK
