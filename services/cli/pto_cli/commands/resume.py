"""``orchestrator resume RUN``: goes on with a run that was interrupted or is paused, or starts a finished one again.

Imports siblings. Invariant: recovery is the same fold; nothing that has finished runs again, in the same run or in the
new one that a finished run is continued by.
"""

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from pto_cli.arguments import command_parser, granted, parse, reach_view
from pto_cli.model_flags import ModelChoice
from pto_cli.prepare import Prepared
from pto_cli.problems import EXIT_OK, EXIT_PAUSED, WrongUse, complain
from pto_proto.ids import LANE_LOCAL

if TYPE_CHECKING:
    from pto_cli.access import Access
    from pto_client.follower import Follower

ONLY_FOR_NEW = ("max_executors", "max_retries", "output_dir", "force", "detach")
"""Flags that mean something only when a new run is started."""


def main(words: list[str]) -> int:
    """The command."""
    what = "Go on with a run that was interrupted or paused; start a finished one again without what succeeded."
    parser = command_parser("resume", what)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("-m", "--max-executors", metavar="N", help="most tasks at once (finished runs only)")
    parser.add_argument("--max-retries", metavar="N", help="retries of a failed task (finished runs only)")
    parser.add_argument("--max-cost", metavar="USD", help="new limit of what the run may cost in all")
    parser.add_argument("-o", "--output-dir", metavar="DIR", help="output folder (finished runs only)")
    parser.add_argument("--force", action="store_true", help="use DIR although it is not empty; the old is kept aside")
    parser.add_argument("--detach", action="store_true", help="print the new run's id and leave (finished runs only)")
    parser.add_argument("--json", action="store_true", help="print events and the summary as JSON lines")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but problems")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more: what tasks print, too")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    from pto_cli.commands.run import check_backends, start, with_models
    from pto_cli.loop import run_loop
    from pto_cli.options import sum_of_money

    problems: list[str] = []
    typed.max_cost_usd = sum_of_money(typed.max_cost, "--max-cost", problems)
    if problems:
        raise WrongUse(*problems)

    again: list[Prepared] = []
    code = run_loop(lambda stop: _resume(typed, stop, again))
    if not again:
        return code
    check_backends(again[0])
    return start(with_models(again[0]))


async def _resume(typed: Namespace, stop: asyncio.Event, again: list[Prepared]) -> int:
    """The exit code; or a run to start, put into ``again``."""
    from pto_cli.registry import ENDED, run_folder

    folder = run_folder(typed.run)
    note = None if typed.nats_url else folder.read_note()
    if note is None and not typed.nats_url:
        raise WrongUse(f"there is no run {typed.run!r} here; `orchestrator list` shows the runs")
    if note is None or note.state in ENDED or folder.is_hosted():
        code = await _continue(typed, stop, again)
        if code is not None or note is None:
            return code or EXIT_OK
    _refuse_flags(typed, f"run {typed.run} was interrupted; it goes on as it was asked for")
    from pto_cli.ending import exit_code, say_end
    from pto_cli.hosting import host
    from pto_cli.job import read_job
    from pto_cli.progress import make_progress
    from pto_cli.reviewer import make_reviewer

    _check_models(note.models(), is_here=LANE_LOCAL in note.lanes)
    progress = make_progress(json=typed.json, quiet=typed.quiet, verbose=typed.verbose)
    is_loud = typed.verbose and not typed.json
    review = make_reviewer(json=typed.json, quiet=typed.quiet)
    view, end = await host(
        folder, note, read_job(folder), progress, stop, verbose=is_loud, max_cost_usd=typed.max_cost_usd, review=review
    )
    say_end(view, end, output_dir=Path(note.output_dir), json_lines=typed.json, quiet=typed.quiet)
    return exit_code(view, end)


def _check_models(models: ModelChoice, *, is_here: bool) -> None:
    """What the run's engine needs is there; ``is_here``: also what it needs to run here. Raises Unavailable."""
    if models.asks_model:
        from pto_cli.engines import get_ready

        get_ready(models, sandbox="none", max_cost_usd=None, is_here=is_here)


async def _continue(typed: Namespace, stop: asyncio.Event, again: list[Prepared]) -> int | None:
    """The run is in good hands, or has ended: lift its pause, or start it again. None: nobody hosts it any more."""
    from pto_cli.conduct import ask_and_wait
    from pto_cli.progress import write_lines
    from pto_cli.render import state_of
    from pto_cli.review import awaits_review, how_to_answer
    from pto_proto.ids import RunId
    from pto_proto.requests import BudgetChangeRequested, RunResumeRequested

    async with reach_view(typed) as (access, follower):
        run = follower.view.run
        if run is not None and run.finished is not None:
            if access.host is not None and access.folder is not None and access.folder.ended_at() is None:
                return None  # its output is still to be delivered
            if run.finished.status == "succeeded":
                write_lines([f"run {typed.run} has succeeded; there is nothing left to do"])
                return EXIT_OK
            from pto_cli.again import prepare_again

            again.append(await prepare_again(typed, access, follower.view))
            return EXIT_OK
        if access.host is not None:
            return None
        if run is not None and typed.max_cost_usd is not None:
            change = BudgetChangeRequested(run=run.id, max_cost_usd=typed.max_cost_usd)
            granted(await ask_and_wait(access, follower, change))
            write_lines([f"run {typed.run} may cost ${typed.max_cost_usd:.2f} in all"])
            if run.paused is None and not awaits_review(follower.view):
                return EXIT_OK
        is_waiting = awaits_review(follower.view)
        if run is None or (run.paused is None and not is_waiting):
            raise WrongUse(f"run {typed.run} is {state_of(follower.view)}; there is nothing to resume")
        state = "is paused" if run.paused is not None else "waits for approval"
        _refuse_flags(typed, f"run {typed.run} {state}; it goes on as it was asked for")
        if run.paused is not None:
            granted(await ask_and_wait(access, follower, RunResumeRequested(run=RunId(typed.run))))
        if is_waiting and not await _review(typed, access, follower, stop):
            complain([how_to_answer(typed.run, is_remote=bool(typed.nats_url))])
            return EXIT_PAUSED
        write_lines([f"run {typed.run} goes on; `orchestrator watch {typed.run}` follows it"])
    return EXIT_OK


async def _review(typed: Namespace, access: "Access", follower: "Follower", stop: asyncio.Event) -> bool:
    """Whether the plan that waits was answered for."""
    from pto_cli.progress import Quiet
    from pto_cli.reviewer import make_reviewer

    return await make_reviewer(json=typed.json, quiet=typed.quiet)(access, follower, Quiet(), stop)


def _refuse_flags(typed: Namespace, why: str) -> None:
    wrong = [f"--{name.replace('_', '-')}" for name in ONLY_FOR_NEW if getattr(typed, name)]
    if wrong:
        raise WrongUse(f"{', '.join(wrong)}: {why}")
