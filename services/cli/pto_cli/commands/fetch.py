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

    if typed.output_dir is not None and not _is_its_own(typed):
        problems = check_output_dir(Path(typed.output_dir), force=typed.force)
        if problems:
            raise WrongUse(*problems)
    return asyncio.run(_fetch(typed))


def _is_its_own(typed: Namespace) -> bool:
    """Whether the folder already holds this run's output, whole or in part: then writing it again loses nothing."""
    from pto_cli.registry import run_folder
    from pto_client.output import is_output_of

    folder = Path(typed.output_dir).absolute()
    note = run_folder(typed.run).read_note()
    return folder.is_dir() and (
        is_output_of(folder, typed.run) or (note is not None and note.output_dir == str(folder))
    )


async def _fetch(typed: Namespace) -> int:
    from pto_cli.conduct import NoteKeeper, fetch_output
    from pto_cli.output_dir import OutputDir, open_output_dir
    from pto_cli.progress import write_lines
    from pto_cli.render import state_of
    from pto_proto.ids import RunId

    async with reach_view(typed) as (access, follower):
        view = follower.view
        if view.finished is None:
            raise WrongUse(f"run {typed.run} has not ended, it is {state_of(view)}; `orchestrator watch` follows it")
        name = view.run.request.name or view.run.request.requirement if view.run is not None else typed.run
        if typed.output_dir is not None and _is_its_own(typed):
            output = OutputDir(Path(typed.output_dir).absolute(), is_new=False)
        else:
            output = open_output_dir(Path(typed.output_dir) if typed.output_dir else None, name)
        try:
            await fetch_output(access, RunId(typed.run), output.path)
        except BaseException:
            output.give_back()
            raise
        if access.folder is not None and access.host is not None:
            NoteKeeper(access.folder)(view, is_delivered=True)
        write_lines([str(output.path)])
    return EXIT_OK
