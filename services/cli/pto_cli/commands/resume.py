"""``orchestrator resume RUN``: goes on with a run that was interrupted or is paused.

Imports siblings. Invariant: recovery is the same fold; nothing that has finished runs again.
"""

import asyncio
from argparse import Namespace
from pathlib import Path

from pto_cli.arguments import command_parser, granted, parse, reach_view
from pto_cli.problems import EXIT_OK, WrongUse


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("resume", "Go on with a run that was interrupted or paused.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--json", action="store_true", help="print events and the summary as JSON lines")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but problems")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more: what tasks print, too")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.conduct import run_loop

    return run_loop(lambda stop: _resume(typed, stop))


async def _resume(typed: Namespace, stop: asyncio.Event) -> int:
    from pto_cli.registry import run_folder

    folder = run_folder(typed.run)
    if typed.nats_url or folder.is_hosted():
        return await _lift_pause(typed)
    note = folder.read_note()
    if note is None:
        raise WrongUse(f"there is no run {typed.run!r} here; `orchestrator list` shows the runs")
    if note.state in ("succeeded", "partial", "failed", "cancelled"):
        raise WrongUse(
            f"run {typed.run} has ended as {note.state}; resuming finished runs is not available yet, start a new one"
        )
    from pto_cli.ending import exit_code, say_end
    from pto_cli.hosting import host
    from pto_cli.job import read_job
    from pto_cli.progress import make_progress

    progress = make_progress(json=typed.json, quiet=typed.quiet, verbose=typed.verbose)
    is_loud = typed.verbose and not typed.json
    view, end = await host(folder, note, read_job(folder), progress, stop, verbose=is_loud)
    say_end(view, end, output_dir=Path(note.output_dir), json_lines=typed.json, quiet=typed.quiet)
    return exit_code(view, end)


async def _lift_pause(typed: Namespace) -> int:
    """The run is in good hands; only a pause can be lifted."""
    from pto_cli.conduct import ask_and_wait
    from pto_cli.progress import write_lines
    from pto_cli.render import state_of
    from pto_proto.ids import RunId
    from pto_proto.requests import RunResumeRequested

    async with reach_view(typed) as (access, follower):
        run = follower.view.run
        if run is None or run.paused is None or run.ended:
            raise WrongUse(f"run {typed.run} is {state_of(follower.view)}; there is nothing to resume")
        granted(await ask_and_wait(access, follower, RunResumeRequested(run=RunId(typed.run))))
        write_lines([f"run {typed.run} goes on; `orchestrator watch {typed.run}` follows it"])
    return EXIT_OK
