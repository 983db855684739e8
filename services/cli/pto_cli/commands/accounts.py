"""``orchestrator accounts``: makes, adds, rotates and revokes the accounts of a broker, as files in one folder.

Imports siblings; the files are written by ``access``. Invariant: no broker is asked; what changed here counts when the
broker has read its configuration again, and the command says so.
"""

from argparse import Namespace
from pathlib import Path

from pto_cli.arguments import command_parser, parse
from pto_cli.problems import EXIT_OK, WrongUse

ACTIONS = ("init", "add", "rotate", "revoke", "render", "list")


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser(
        "accounts",
        "Keep a broker's accounts in FOLDER: `init` makes one for each role; `add` one more; `rotate` gives USER a new "
        "key beside the old one; `revoke --former` ends the old one, `revoke` all; `render` writes users.conf again, "
        "after an upgrade; `list` shows them. The broker's configuration includes FOLDER/users.conf; the private keys "
        "are in FOLDER/credentials, for PTO_CREDS.",
    )
    parser.add_argument("action", choices=ACTIONS, metavar="|".join(ACTIONS))
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("user", nargs="?", metavar="USER", default="")
    parser.add_argument("--role", default="", help="with add: what USER is, such as requester or dispatcher")
    parser.add_argument(
        "--lane", action="append", default=[], help="with init: lanes with a dispatcher (local); with add: USER's lane"
    )
    parser.add_argument("--former", action="store_true", help="with revoke: only the keys before the newest")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    _check(typed)
    from pto_cli.access import change_accounts, show_accounts
    from pto_cli.progress import write_lines

    folder = Path(typed.folder)
    if typed.action == "list":
        write_lines(show_accounts(folder))
        return EXIT_OK
    change_accounts(folder, typed.action, user=typed.user, role=typed.role, lanes=typed.lane, former=typed.former)
    write_lines(
        [f"wrote {folder}; have the broker read it again: `nats-server --signal reload`, twice for a new service"]
    )
    return EXIT_OK


def _check(typed: Namespace) -> None:
    names_one = typed.action in ("add", "rotate", "revoke")
    if names_one != bool(typed.user):
        raise WrongUse(f"accounts {typed.action}: {'needs the name of a USER' if names_one else 'names no USER'}")
    if (typed.action == "add") != bool(typed.role):
        raise WrongUse("accounts: --role goes with add, and add needs it")
    if typed.lane and typed.action not in ("init", "add"):
        raise WrongUse("accounts: --lane goes with init and add")
    if typed.action == "add" and len(typed.lane) > 1:
        raise WrongUse("accounts add: an account has one --lane")
    if typed.former and typed.action != "revoke":
        raise WrongUse("accounts: --former goes with revoke")
