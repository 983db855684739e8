"""``orchestrator bootstrap``: writes a broker's configuration, or sets up the streams and consumers on a running one.

Imports siblings; the wiring is in ``access``. Invariant: setting up again changes
nothing, and a configuration is never written over another one.
"""

import asyncio
import os
import secrets
from argparse import Namespace
from pathlib import Path

from pto_cli.arguments import command_parser, parse
from pto_cli.problems import EXIT_OK, WrongUse


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser(
        "bootstrap", "Set up the streams on a broker, as its account bootstrap (env PTO_USER, PTO_CREDS)."
    )
    parser.add_argument("--write-config", metavar="FILE", help="write a nats-server configuration with all accounts")
    parser.add_argument("--store", metavar="DIR", default="nats-store", help="the broker's store, with --write-config")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:4222", help="with --write-config: its address"
    )
    parser.add_argument("--accounts", metavar="FOLDER", help="whom to set up for; default: the usual accounts")
    parser.add_argument(
        "--replicas", metavar="N", type=int, choices=(1, 3, 5), default=1, help="servers of each stream"
    )
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    if typed.write_config:
        return _write_config(typed)
    if not typed.nats_url:
        raise WrongUse("bootstrap: needs --nats-url; embedded runs set up their own broker")
    from pto_cli.access import set_up_broker
    from pto_cli.progress import write_lines

    accounts = Path(typed.accounts) if typed.accounts else None
    asyncio.run(set_up_broker(typed.nats_url, os.environ, accounts, typed.replicas))
    write_lines([f"the broker at {typed.nats_url} is set up"])
    return EXIT_OK


def _write_config(typed: Namespace) -> int:
    """All accounts get the password in PTO_PASSWORD, or a new one that is printed once."""
    from pto_cli.access import broker_config
    from pto_cli.progress import write_lines

    host, _, port = typed.listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUse(f"--listen: must be HOST:PORT, not {typed.listen!r}")
    given = os.environ.get("PTO_PASSWORD", "")
    password = given or secrets.token_urlsafe(18)
    text = broker_config(password, store=Path(typed.store).absolute(), host=host, port=int(port))
    path = Path(typed.write_config)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise WrongUse(f"--write-config: {path} exists; name a new file or remove it") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    lines = [f"wrote {path}; start the broker with `nats-server -c {path}`"]
    write_lines(lines if given else [*lines, f"export PTO_PASSWORD={password}"])
    return EXIT_OK
