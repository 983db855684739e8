"""``orchestrator events RUN``: the run's events as they are in the log.

Imports siblings. Invariant: with ``--json`` each line is one envelope, byte for byte.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pto_cli.arguments import command_parser, parse, reach
from pto_cli.problems import EXIT_OK, WrongUse

if TYPE_CHECKING:
    from pto_client.follower import Seen


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("events", "Print a run's events in log order.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--json", action="store_true", help="print the envelopes, one per line")
    typed = parse(parser, words)
    return EXIT_OK if typed is None else asyncio.run(_events(typed))


async def _events(typed: Namespace) -> int:
    from pto_cli.conduct import catch_up
    from pto_client.follower import Follower
    from pto_proto.ids import RunId

    async with reach(typed) as access:
        follower = Follower(access.session.view, RunId(typed.run))
        follower.on_seen = lambda _, seen: sys.stdout.writelines(_lines(seen, json=typed.json))
        try:
            await catch_up(access, follower)
        finally:
            await follower.close()
        if follower.view.id is None:
            raise WrongUse(f"the log knows no run {typed.run!r}")
    return EXIT_OK


def _lines(seen: "Seen", *, json: bool) -> Iterator[str]:
    from pto_cli.render import clean
    from pto_proto.envelope import rfc3339

    if json:
        yield seen.recorded.data.decode() + "\n"
    elif seen.event is None:
        yield f"{seen.recorded.seq:>8}  (an event that this version cannot read)\n"
    else:
        kind = seen.event.kind.__name__
        for entry in seen.event.entries:
            task = f"{entry.task}.{entry.attempt}" if hasattr(entry, "task") else ""
            note = getattr(entry, "outcome", "") or getattr(entry, "status", "")
            line = f"{seen.recorded.seq:>8}  {rfc3339(entry.at)}  {kind:<20}{clean(f'{task} {note}')}"
            yield line.rstrip() + "\n"
