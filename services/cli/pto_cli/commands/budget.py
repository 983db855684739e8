"""``orchestrator budget RUN``: changes how many executors a run has and what it may cost, while it goes on.

Imports siblings. Invariant: exit 0 means that the scheduler has taken the order; what runs is never stopped by it.
"""

from argparse import Namespace

from pto_cli.arguments import command_parser, granted, parse, reach_view
from pto_cli.problems import EXIT_OK, WrongUse


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("budget", "Change a run's executors and its limit of cost while it goes on.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("-m", "--max-executors", metavar="N", help="most tasks at once from here on")
    parser.add_argument("--max-cost", metavar="USD", help="new limit of what the run may cost in all")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    _check(typed)
    from pto_cli.loop import run_loop

    return run_loop(lambda stop: _budget(typed))


def _check(typed: Namespace) -> None:
    from pto_cli.options import sum_of_money, whole_number
    from pto_core.limits import MAX_EXECUTORS

    problems: list[str] = []
    if typed.max_executors is None and typed.max_cost is None:
        problems.append(f"budget: say what to change, such as `orchestrator budget {typed.run} -m 10`")
    typed.executors = None
    if typed.max_executors is not None:
        values = {"max_executors": typed.max_executors}
        typed.executors = whole_number(values, "max_executors", 1, MAX_EXECUTORS, problems)
    typed.max_cost_usd = sum_of_money(typed.max_cost, "--max-cost", problems)
    if problems:
        raise WrongUse(*problems)


async def _budget(typed: Namespace) -> int:
    from pto_cli.conduct import ask_and_wait
    from pto_cli.progress import write_lines
    from pto_proto.ids import RunId
    from pto_proto.requests import BudgetChangeRequested

    async with reach_view(typed) as (access, follower):
        run = follower.view.run
        if run is not None and run.ended:
            raise WrongUse(f"run {typed.run} has already ended as {run.phase.value}")
        if access.host is not None:
            raise WrongUse(f"nobody hosts run {typed.run} just now; `orchestrator resume {typed.run}` goes on with it")
        request = BudgetChangeRequested(
            run=RunId(typed.run), max_executors=typed.executors, max_cost_usd=typed.max_cost_usd
        )
        granted(await ask_and_wait(access, follower, request))
        now = follower.view.run
        most = now.max_executors if now is not None else typed.executors
        cost = "" if typed.max_cost_usd is None else f", and may cost ${typed.max_cost_usd:.2f} in all"
        write_lines([f"run {typed.run} has at most {most} tasks at once from here on{cost}"])
    return EXIT_OK
