"""``orchestrator fetch RUN -o DIR``: writes a run's output folder from the log and the blobs.

Imports siblings. Invariant: doing it again gives the same files; the run does not notice.
"""

import asyncio
from argparse import Namespace
from pathlib import Path

from pto_cli.arguments import command_parser, parse, reach_view
from pto_cli.problems import EXIT_OK, WrongUse


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("fetch", "Write a run's output folder.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("-o", "--output-dir", metavar="DIR", default=None, help="output folder (default: by its name)")
    parser.add_argument("--force", action="store_true", help="use DIR although it is not empty; the old is kept aside")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.output_dir import check_output_dir

    if typed.output_dir is not None:
        problems = check_output_dir(Path(typed.output_dir), force=typed.force)
        if problems:
            raise WrongUse(*problems)
    return asyncio.run(_fetch(typed))


async def _fetch(typed: Namespace) -> int:
    from pto_cli.conduct import fetch_output
    from pto_cli.output_dir import open_output_dir
    from pto_cli.progress import write_lines
    from pto_cli.render import state_of
    from pto_proto.ids import RunId

    async with reach_view(typed) as (access, follower):
        view = follower.view
        if view.finished is None:
            raise WrongUse(f"run {typed.run} has not ended, it is {state_of(view)}; `orchestrator watch` follows it")
        name = view.run.request.name or view.run.request.requirement if view.run is not None else typed.run
        output = open_output_dir(Path(typed.output_dir) if typed.output_dir else None, name)
        try:
            await fetch_output(access, RunId(typed.run), output.path)
        except BaseException:
            output.give_back()
            raise
        write_lines([str(output.path)])
    return EXIT_OK
