"""``orchestrator bootstrap --nats-url URL``: sets up the streams and the services' consumers on a broker.

Imports siblings; the wiring is in ``access``. Invariant: doing it again changes nothing.
"""

import asyncio
import os

from pto_cli.arguments import command_parser, parse
from pto_cli.problems import EXIT_OK, WrongUse


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser(
        "bootstrap", "Set up the streams on a broker, as its account bootstrap (env PTO_USER, PTO_PASSWORD)."
    )
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    if not typed.nats_url:
        raise WrongUse("bootstrap: needs --nats-url; embedded runs set up their own broker")
    from pto_cli.access import set_up_broker
    from pto_cli.progress import write_lines

    asyncio.run(set_up_broker(typed.nats_url, os.environ))
    write_lines([f"the broker at {typed.nats_url} is set up"])
    return EXIT_OK
