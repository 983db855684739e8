"""``orchestrator logs RUN [TASK]``: what tasks have printed; with ``-f`` also what they print now.

Imports siblings. Invariant: it shows the stored log of each attempt that has ended; lines of running ones may be lost.
"""

import asyncio
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from pto_cli.arguments import command_parser, parse, reach_view
from pto_cli.problems import EXIT_OK, WrongUse

if TYPE_CHECKING:
    from pto_cli.access import Access
    from pto_client.follower import Follower
    from pto_core.views import AttemptView


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("logs", "Show what a run's tasks have printed.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("task", metavar="TASK", nargs="?", default=None)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is printed from now on")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _logs(typed, stop))


async def _logs(typed: Namespace, stop: asyncio.Event) -> int:
    async with reach_view(typed) as (access, follower):
        run = follower.view.run
        if typed.task is not None and (run is None or run.task(typed.task) is None):
            raise WrongUse(f"run {typed.run} has no task {typed.task!r}; `orchestrator status {typed.run}` shows them")
        wanted = [typed.task] if typed.task is not None else list(follower.view.attempts)
        for task in wanted:
            for attempt in follower.view.attempts.get(task, ()):
                await _print_stored(access, attempt)
        if typed.follow and follower.view.finished is None and access.host is None:
            await _print_live(access, follower, typed, stop)
    return EXIT_OK


async def _print_stored(access: "Access", attempt: "AttemptView") -> None:
    if not attempt.log:
        return
    from pto_cli.live_lines import printable
    from pto_ports.blob_store import BlobMissing

    try:
        text = (await access.blobs.get(attempt.log)).decode(errors="replace")
    except BlobMissing:
        text = "(this log is not stored any more)\n"
    if text:
        sys.stdout.write(f"--- {attempt.label} ({attempt.outcome})\n{printable(text)}")
        sys.stdout.write("" if text.endswith("\n") else "\n")


async def _print_live(access: "Access", follower: "Follower", typed: Namespace, stop: asyncio.Event) -> None:
    from pto_cli.conduct import follow
    from pto_cli.live_lines import show_live
    from pto_cli.progress import Quiet
    from pto_proto.ids import RunId

    end = await show_live(access, RunId(typed.run), typed.task)
    try:
        await follow(access, follower, Quiet(), stop)
    finally:
        await end()
