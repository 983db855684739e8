"""``orchestrator watch RUN``: follows a run until it ends; the run does not notice.

Imports siblings. Invariant: leaving with Ctrl-C changes nothing.
"""

import asyncio
from argparse import Namespace

from pto_cli.arguments import command_parser, parse, reach
from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, HostGone, WrongUse, complain


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("watch", "Follow a run until it ends.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")
    parser.add_argument("-v", "--verbose", action="store_true", help="one line per change on a terminal too")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _watch(typed, stop))


async def _watch(typed: Namespace, stop: asyncio.Event) -> int:
    code = await _watch_once(typed, stop)
    # The host leaves when the run has ended, maybe before its last event came here: then the store tells.
    if code is None:
        code = await _watch_once(typed, stop, is_second=True)
    return EXIT_ENVIRONMENT if code is None else code


async def _watch_once(typed: Namespace, stop: asyncio.Event, *, is_second: bool = False) -> int | None:
    """The exit code; None: the host has gone before the end was seen."""
    from pto_cli.conduct import catch_up, follow
    from pto_cli.ending import exit_code, say_end
    from pto_cli.progress import make_progress
    from pto_client.follower import Follower
    from pto_proto.ids import RunId

    async with reach(typed) as access:
        follower = Follower(access.session.view, RunId(typed.run))
        progress = make_progress(json=typed.json, verbose=typed.verbose, quiet=is_second)
        try:
            view = await catch_up(access, follower, progress)
            if view.id is None:
                raise WrongUse(f"the log knows no run {typed.run!r}")
            if access.host is not None and view.finished is None:
                complain([f"nobody hosts run {typed.run} just now; `orchestrator resume {typed.run}` picks it up"])
                return EXIT_ENVIRONMENT if is_second else EXIT_USAGE
            end = await follow(access, follower, progress, stop)
            if end == "host-gone" and not is_second:
                return None
        except HostGone:
            if is_second:
                raise
            return None
        finally:
            progress.close()
            await follower.close()
        if end == "interrupted":
            complain([f"not watching any more; run {typed.run} goes on"])
        else:
            say_end(view, end, output_dir=None, json_lines=typed.json, quiet=False)
        return exit_code(view, end)
