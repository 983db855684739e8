"""``orchestrator cancel RUN``: stops a run and all its tasks, also one that nobody hosts just now.

Imports siblings. Invariant: exit 0 means that the scheduler has taken the order; the log says what became of it.
"""

import asyncio
from argparse import Namespace
from pathlib import Path

from pto_cli.arguments import command_parser, granted, parse, reach_view
from pto_cli.problems import EXIT_OK, EXIT_USAGE, WrongUse, complain

TRIES = 5
"""How often a run that changes hands is tried again."""
RETRY_S = 0.2


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("cancel", "Stop a run and all its tasks.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it is noted in the log")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _cancel(typed, stop))


async def _cancel(typed: Namespace, stop: asyncio.Event) -> int:
    """Another command may take over an idle run between the look at it and its cancel: then that one is asked."""
    from pto_cli.access import StoreTaken

    for _ in range(TRIES - 1):
        try:
            return await _try_cancel(typed, stop)
        except StoreTaken:
            await asyncio.sleep(RETRY_S)
    return await _try_cancel(typed, stop)


async def _try_cancel(typed: Namespace, stop: asyncio.Event) -> int:
    from pto_cli.conduct import ask_and_wait
    from pto_cli.progress import write_lines
    from pto_proto.ids import RunId
    from pto_proto.requests import RunCancelRequested

    async with reach_view(typed) as (access, follower):
        run = follower.view.run
        if run is not None and run.ended:
            complain([f"run {typed.run} has already ended as {run.phase.value}"])
            return EXIT_USAGE
        is_idle = access.host is not None
        if not is_idle:
            granted(await ask_and_wait(access, follower, RunCancelRequested(run=RunId(typed.run), reason=typed.reason)))
            write_lines([f"run {typed.run} is being cancelled"])
            return EXIT_OK
    return await _cancel_idle(typed, stop)


async def _cancel_idle(typed: Namespace, stop: asyncio.Event) -> int:
    """The run was interrupted: its services are started to end it in order."""
    from pto_cli.access import host_run
    from pto_cli.conduct import NoteKeeper, ask_and_wait, catch_up, follow
    from pto_cli.hosting import deliver
    from pto_cli.progress import Quiet, write_lines
    from pto_cli.registry import run_folder
    from pto_client.follower import Follower
    from pto_proto.ids import RunId
    from pto_proto.requests import RunCancelRequested
    from pto_runtime.logs import configure_logs

    folder = run_folder(typed.run)
    note = folder.read_note()
    if note is None:
        raise WrongUse(f"there is no run {typed.run!r} here")
    with folder.log.open("a") as log:
        configure_logs("plain", stream=log)
        out_dir = Path(note.output_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        # With all dispatchers of the run: its containers and jobs may still be there, and are to end.
        access = await host_run(
            folder, work_dir=out_dir, capacity=note.max_executors, with_services=True, models=note.models(),
            dispatchers=note.dispatchers(),
        )  # fmt: skip
        follower = Follower(access.session.view, RunId(typed.run))
        keep_note = NoteKeeper(folder)
        try:
            await catch_up(access, follower)
            granted(await ask_and_wait(access, follower, RunCancelRequested(run=RunId(typed.run), reason=typed.reason)))
            keep_note(follower.view)
            end = await follow(access, follower, Quiet(), stop, on_change=keep_note)
            if end == "ended":
                await deliver(access, folder, follower.view, out_dir)
        finally:
            await follower.close()
            await access.close()
    write_lines([f"run {typed.run} is cancelled" if end == "ended" else f"run {typed.run} is being cancelled"])
    return EXIT_OK
