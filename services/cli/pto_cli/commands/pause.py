"""``orchestrator pause RUN``: hands out nothing more of a run; what runs goes on.

Imports siblings. Invariant: exit 0 means that the scheduler has taken the order; ``orchestrator resume RUN`` lifts it.
"""

from argparse import Namespace

from pto_cli.arguments import command_parser, granted, parse, reach_view
from pto_cli.problems import EXIT_OK, WrongUse


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("pause", "Hand out nothing more of a run; what runs goes on.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it is noted in the log")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _pause(typed))


async def _pause(typed: Namespace) -> int:
    from pto_cli.conduct import ask_and_wait
    from pto_cli.progress import write_lines
    from pto_proto.ids import RunId
    from pto_proto.requests import RunPauseRequested

    if not typed.nats_url:
        _refuse_idle(typed.run)
    async with reach_view(typed) as (access, follower):
        run = follower.view.run
        if run is not None and run.ended:
            raise WrongUse(f"run {typed.run} has already ended as {run.phase.value}")
        if access.host is not None:
            raise WrongUse(_idle(typed.run))
        request = RunPauseRequested(run=RunId(typed.run), reason=typed.reason)
        granted(await ask_and_wait(access, follower, request))
        write_lines([f"run {typed.run} is paused; what runs goes on, `orchestrator resume {typed.run}` lifts it"])
    return EXIT_OK


def _refuse_idle(run: str) -> None:
    """No broker is started only to find that there is nothing to pause."""
    from pto_cli.registry import ENDED, run_folder

    folder = run_folder(run)
    note = folder.read_note()
    if note is not None and note.state not in ENDED and not folder.is_hosted():
        raise WrongUse(_idle(run))


def _idle(run: str) -> str:
    return (
        f"nobody hosts run {run} just now, so nothing of it is handed out; `orchestrator resume {run}` goes on with it"
    )
