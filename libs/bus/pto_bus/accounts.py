"""The accounts of a broker as files: who there is, the private key of each, and what the broker needs to know of them.

Imports topology, server_config and errors. Invariants: a private key is only ever in the file of its account, which
only its owner may read; what the broker gets are public keys. Every change is in all files when a call returns, the
list of accounts first.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pto_bus.errors import BadAccounts
from pto_bus.server_config import render_accounts, render_leaf_users
from pto_bus.topology import Account, accounts_behind

ACCOUNTS = "accounts.json"
"""The list: names, roles, lanes and public keys. Nothing in it is secret."""
USERS = "users.conf"
"""What the broker's configuration includes."""
CREDENTIALS = "credentials"
"""Folder of the private keys, one file for each account."""
LEAVES = "leaves"
"""Folder with what each leaf node's configuration includes: its users, and its own key."""
RELAY_KEY = "relay-key.conf"


def read_accounts(folder: Path) -> list[Account]:
    """The accounts in this folder. Raises BadAccounts."""
    path = folder / ACCOUNTS
    try:
        found: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        accounts = [Account(**{**one, "keys": tuple(one.get("keys", ()))}) for one in found]
    except FileNotFoundError as error:
        raise BadAccounts(f"there is no {path}: `orchestrator accounts init {folder}` makes it") from error
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise BadAccounts(f"{path} is not a list of accounts: {error}") from error
    if len({account.user for account in accounts}) < len(accounts):
        raise BadAccounts(f"{path} names an account twice")
    return accounts


def make_accounts(folder: Path, accounts: Sequence[Account]) -> None:
    """A new folder with a key for each of these accounts. Raises BadAccounts when there are accounts in it."""
    if (folder / ACCOUNTS).exists():
        raise BadAccounts(f"{folder} holds accounts already: use add, rotate and revoke, or name a new folder")
    _save(folder, [_with_new_key(folder, account) for account in accounts])


def render_again(folder: Path) -> None:
    """What the broker needs to know of these accounts as this version writes it. Raises BadAccounts."""
    _save(folder, read_accounts(folder))


def add_account(folder: Path, account: Account) -> None:
    """One more account, with a key. Raises BadAccounts."""
    accounts = read_accounts(folder)
    if any(known.user == account.user for known in accounts):
        raise BadAccounts(f"there is an account {account.user!r} already; rotate gives it a new key")
    _save(folder, [*accounts, _with_new_key(folder, account)])


def rotate_key(folder: Path, user: str) -> None:
    """A new key beside the one that is in use, which stays good until it is revoked. Raises BadAccounts."""
    _change(folder, user, lambda account: _with_new_key(folder, replace(account, keys=account.keys[:1])))


def revoke_keys(folder: Path, user: str, *, former: bool) -> None:
    """Take away the account's keys, or with ``former`` only those before the newest. Raises BadAccounts."""
    kept = 1 if former else 0
    _change(folder, user, lambda account: replace(account, keys=account.keys[:kept]))


def credentials_file(folder: Path, user: str) -> Path:
    """Where this account's private key is."""
    return folder / CREDENTIALS / f"{user}.nk"


def _change(folder: Path, user: str, change: Callable[[Account], Account]) -> None:
    accounts = read_accounts(folder)
    if not any(account.user == user for account in accounts):
        raise BadAccounts(f"there is no account {user!r} in {folder}")
    _save(folder, [change(account) if account.user == user else account for account in accounts])


def _with_new_key(folder: Path, account: Account) -> Account:
    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    _write(credentials_file(folder, account.user), f"{seed.decode()}\n", 0o600)
    if account.role == "relay":
        _write(folder / LEAVES / account.user / RELAY_KEY, f'RELAY_KEY: "{seed.decode()}"\n', 0o600)
    return replace(account, keys=(public, *account.keys))


def _save(folder: Path, accounts: Sequence[Account]) -> None:
    rows = [
        {"user": one.user, "role": one.role, **({"lane": one.lane} if one.lane else {}), "keys": list(one.keys)}
        for one in accounts
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    _write(folder / ACCOUNTS, f"[\n{lines}\n]\n", 0o644)
    _write(folder / USERS, render_accounts(accounts), 0o644)
    for relay in accounts:
        if relay.role == "relay":
            behind = accounts_behind(relay, accounts)
            _write(folder / LEAVES / relay.user / USERS, render_leaf_users(behind), 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """All of the file or nothing, so that a broker that reads it meanwhile never sees a half."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    new.replace(path)
