"""``orchestrator _host RUN FD``: the background process of ``--detach``. Not for people.

Imports siblings. Invariant: its first word on the pipe is ``ready`` once the run is accepted, or else what went wrong.
"""

import asyncio
import os

from pto_cli.background import READY
from pto_cli.ending import exit_code
from pto_cli.hosting import host
from pto_cli.job import read_job
from pto_cli.loop import run_loop
from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_USAGE, WrongUse
from pto_cli.progress import Quiet
from pto_cli.registry import run_folder
from pto_core.views import RunView


def main(words: list[str]) -> int:
    """The command."""
    if len(words) != 2 or not words[1].isdecimal():
        raise WrongUse("_host is used by --detach only")
    return run_loop(lambda stop: _host(words[0], int(words[1]), stop))


async def _host(run: str, ready: int, stop: asyncio.Event) -> int:
    folder = run_folder(run)
    note, job = folder.read_note(), read_job(folder)
    if note is None or job is None:
        return EXIT_USAGE
    waiting = [ready]

    def say(words: bytes) -> None:
        for descriptor in waiting:
            os.write(descriptor, words)
            os.close(descriptor)
        waiting.clear()

    def on_known(view: RunView) -> None:
        reasons = "\n".join(str(reason) for refused in view.refused for reason in refused.reasons)
        say(READY if view.run is not None else reasons.encode())

    try:
        view, end = await host(folder, note, job, Quiet(), stop, on_known=on_known)
    except Exception as error:
        say(str(error).encode())
        return EXIT_ENVIRONMENT
    return exit_code(view, end)
