"""Renders the broker's configuration file from accounts and settings. Imports topology and proto.

Invariant: pure; the same arguments give the same text. A text with passwords belongs in a file of mode 0600. An account
without password and keys is in no text, so nobody can be it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pto_bus import limits
from pto_bus.topology import API, DOMAIN_API, PEOPLE, Account, leaf_permissions, permissions
from pto_proto.subjects import BLOB_SUBJECTS, LEASE_SUBJECTS, LIVE, subject_filter


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What may differ between brokers. Port 0 means a free one, told by the ports file."""

    store: Path
    host: str = "127.0.0.1"
    port: int = 0
    sync_interval: str = "always"
    """``always`` survives a power cut; a duration such as ``2m`` is faster and loses up to that much in one."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ports_dir: Path | None = None
    log_file: Path | None = None


def render_server_config(settings: ServerSettings, accounts: list[Account]) -> str:
    """The text of a ``nats-server`` configuration file: JetStream on, these users and nobody else."""
    lines = [
        f"listen: {json.dumps(f'{settings.host}:{settings.port or -1}')}",
        "jetstream {",
        f"  store_dir: {json.dumps(str(settings.store))}",
        f"  sync_interval: {json.dumps(settings.sync_interval)}",
        f"  max_file_store: {limits.SERVER_STORE_BYTES}",
        "}",
    ]
    if settings.ports_dir is not None:
        lines.append(f"ports_file_dir: {json.dumps(str(settings.ports_dir))}")
    if settings.log_file is not None:
        lines += [
            f"log_file: {json.dumps(str(settings.log_file))}",
            f"logfile_size_limit: {limits.SERVER_LOG_BYTES}",
            "logfile_max_num: 2",
        ]
    if settings.tls_cert is not None and settings.tls_key is not None:
        lines += [
            "tls {",
            f"  cert_file: {json.dumps(str(settings.tls_cert))}",
            f"  key_file: {json.dumps(str(settings.tls_key))}",
            "}",
        ]
    return "\n".join([*lines, "authorization {", render_users(accounts).rstrip(), "}", ""])


def render_users(accounts: Sequence[Account]) -> str:
    """The users of a broker's ``authorization`` block: these accounts and nobody else."""
    return _users([(account, permissions(account, accounts)) for account in accounts])


def render_accounts(accounts: Sequence[Account]) -> str:
    """The broker's ``accounts`` block: these users and nobody else, each service in a broker account of its own.

    The broker sends an answer to any subject that the asker names, and a stream, or whoever listens there, takes it.
    Out of a broker account goes what its users may publish, and no answer: so services cannot have the broker write for
    them at all, and people, who share an account, only to people.
    """
    owners = [account for account in accounts if account.role == "bootstrap"]
    exports: list[dict[str, Any]] = [{"service": subject} for subject in _STORED]
    exports.append({"service": f"{API}.>", "response_type": "stream"})
    lines = [f"{OWNER}: {{", "jetstream: enabled", f"exports: {json.dumps(exports)}", *_members(owners, accounts)]
    rooms: dict[str, list[Account]] = {}
    for account in accounts:
        if account.role != "bootstrap":
            rooms.setdefault("people" if account.role in PEOPLE else f"of_{account.user}", []).append(account)
    told = {name: _live(members, accounts, "publish") for name, members in rooms.items()}
    for name, members in rooms.items():
        exports = [{"stream": subject} for subject in told[name]]
        imports = [*_asked(members, accounts), *_heard(_live(members, accounts, "subscribe"), told)]
        lines += [f"{name}: {{", f"exports: {json.dumps(exports)}", f"imports: {json.dumps(imports)}"]
        lines += _members(members, accounts)
    return "\n".join([*lines, ""])


OWNER = "services"
"""The broker account of the streams and of ``bootstrap``. Streams are stored under this name: it must not change."""
_STORED = ("pto.*.*.*", *BLOB_SUBJECTS, *LEASE_SUBJECTS)
"""What streams take."""


def _members(users: Sequence[Account], accounts: Sequence[Account]) -> list[str]:
    return [_users([(account, permissions(account, accounts)) for account in users]).rstrip(), "}"]


def _live(members: Sequence[Account], accounts: Sequence[Account], way: str) -> list[str]:
    """What these may tell, or hear, beside the streams."""
    subjects = [subject for account in members for subject in permissions(account, accounts)[way]["allow"]]
    return [subject for subject in dict.fromkeys(subjects) if subject.startswith(LIVE)]


def _asked(members: Sequence[Account], accounts: Sequence[Account]) -> list[dict[str, Any]]:
    """Imports of what these may ask streams: JetStream's API, which the broker gives as a whole or not at all, and what
    is stored; for leaf nodes also the parts of the API, because they are offered what they may ask for and no more.
    """
    imports: dict[str, dict[str, Any]] = {API: {"service": {"account": OWNER, "subject": f"{API}.>"}}}
    for account in members:
        for subject in permissions(account, accounts)["publish"]["allow"]:
            if subject.startswith(f"{DOMAIN_API}."):
                asked = subject.replace(DOMAIN_API, API, 1)
                imports[subject] = {"service": {"account": OWNER, "subject": asked}, "to": subject}
            elif not subject.startswith((f"{API}.", LIVE)):
                stored = f"{subject.rpartition('.')[0]}.*" if account.role in PEOPLE else subject
                imports[stored] = {"service": {"account": OWNER, "subject": stored}}
    return list(imports.values())


def _heard(wanted: Sequence[str], told: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Imports of what of this is told anywhere."""
    imports: list[dict[str, Any]] = []
    for name, subjects in told.items():
        for subject, want in product(subjects, wanted):
            narrower = subject if subject_filter(want)(subject) else want if subject_filter(subject)(want) else None
            if narrower is not None:
                imports.append({"stream": {"account": name, "subject": narrower}})
    return imports


def render_leaf_users(accounts: Sequence[Account]) -> str:
    """The users of a leaf node."""
    return _users([(account, leaf_permissions(account)) for account in accounts])


def _users(allowed: Sequence[tuple[Account, dict[str, Any]]]) -> str:
    lines = ["users: ["]
    for account, may in allowed:
        user, rights = json.dumps(account.user), json.dumps(may)
        if account.password:
            lines.append(f"  {{ user: {user}, password: {json.dumps(account.password)}, permissions: {rights} }}")
        lines += [f"  # {account.user}\n  {{ nkey: {key}, permissions: {rights} }}" for key in account.keys]
    return "\n".join([*lines, "]", ""])
