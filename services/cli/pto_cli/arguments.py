"""What the commands about an existing run have in common: their arguments, and getting at the run.

Imports siblings. Invariant: an unknown run or a word too many is wrong use (exit 2); a broker that is away is not
(exit 3).
"""

import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from pto_cli.flags import Misused, Parser
from pto_cli.problems import EXIT_USAGE, HostGone, Unavailable, WrongUse, code_of_refusal

if TYPE_CHECKING:
    from pto_cli.access import Access
    from pto_client.follower import Follower

NO_ANSWER = (
    "nobody answered: no scheduler runs at this broker, or its log takes nothing (the schedulers' /readyz says so)"
)


def command_parser(name: str, what: str) -> Parser:
    """A parser for ``orchestrator NAME``."""
    parser = Parser(prog=f"orchestrator {name}", description=what, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this and leave")
    parser.add_argument("--nats-url", metavar="URL", default=None, help="ask at this broker (env NATS_URL)")
    return parser


def parse(parser: Parser, words: list[str]) -> Namespace | None:
    """The arguments; None: help was asked for and shown. Raises WrongUse."""
    if "-h" in words or "--help" in words:
        sys.stdout.write(parser.format_help())
        return None
    try:
        typed, unknown = parser.parse_known_args(words)
    except Misused as error:
        raise WrongUse(f"{parser.prog.partition(' ')[2]}: {error}") from error
    if unknown:
        quoted = " ".join(unknown)
        hint = "" if unknown[0].startswith("-") else '; to build something: orchestrator run "..."'
        raise WrongUse(f"{parser.prog.partition(' ')[2]}: {quoted!r} is not understood{hint}")
    if typed.nats_url is None:
        typed.nats_url = os.environ.get("NATS_URL", "")
    if getattr(typed, "run", None) is not None:
        check_run_id(typed.run)
    return typed


def check_run_id(run: str) -> None:
    """Raise WrongUse for what cannot name a run."""
    from pto_proto.ids import is_run_id

    if not is_run_id(run):
        raise WrongUse(f"{run!r} is not a run id; `orchestrator list` shows them")


@asynccontextmanager
async def reach(typed: Namespace) -> "AsyncIterator[Access]":
    """The broker that was named, or the embedded run ``typed.run``. Raises WrongUse, BusError, BadSettings."""
    from pto_cli.access import NoSuchRun, open_remote, open_run

    try:
        access = await (open_remote(typed.nats_url, os.environ) if typed.nats_url else open_run(typed.run))
    except NoSuchRun as error:
        raise WrongUse(str(error)) from error
    try:
        yield access
    finally:
        await access.close()


@asynccontextmanager
async def reach_view(typed: Namespace) -> "AsyncIterator[tuple[Access, Follower]]":
    """The run as far as the log goes. Raises WrongUse when the log knows nothing of it; HostGone."""
    async with AsyncExitStack() as held:
        try:
            found = await _caught_up(typed, held)
        except HostGone:
            await held.aclose()
            found = await _caught_up(typed, held)  # by its store
        yield found


async def _caught_up(typed: Namespace, held: AsyncExitStack) -> "tuple[Access, Follower]":
    """What is opened is left to ``held``."""
    from pto_cli.conduct import catch_up
    from pto_client.follower import Follower
    from pto_proto.ids import RunId

    access = await held.enter_async_context(reach(typed))
    follower = Follower(access.session.view, RunId(typed.run))
    held.push_async_callback(follower.close)
    view = await catch_up(access, follower)
    if view.id is None:
        raise WrongUse(f"the log knows no run {typed.run!r}")
    return access, follower


def granted(refused: list[str] | None) -> None:
    """Raise what an answer to a request says, unless it was granted."""
    if refused is None:
        raise Unavailable(NO_ANSWER)
    if refused and code_of_refusal(refused) != EXIT_USAGE:
        raise Unavailable("\n".join(refused))
    if refused:
        raise WrongUse(*refused)
