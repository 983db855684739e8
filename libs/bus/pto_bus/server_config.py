"""Renders the broker's configuration file from accounts and settings. Imports topology and proto.

Invariant: pure; the same arguments give the same text. A text with passwords belongs in a file of mode 0600. An account
without password and keys is in no text, so nobody can be it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pto_bus import limits
from pto_bus.topology import API, PEOPLE, Account, leaf_permissions, permissions
from pto_proto.subjects import AUDIT_SUBJECT, BLOB_SUBJECTS


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
    """The broker's ``accounts`` block: these users and nobody else, people apart from services.

    The broker sends an answer to any subject that the asker names, and a stream takes it. From the people's account an
    answer never leaves, so that nobody there can have the broker write for them.
    """
    people = [account for account in accounts if account.role in PEOPLE]
    services = [account for account in accounts if account.role not in PEOPLE]
    exports = [{"service": subject} for subject in _ASKED] + [{"stream": _TOLD}]
    exports.append({"service": f"{API}.>", "response_type": "stream"})
    imports = [{"service": {"account": "services", "subject": subject}} for subject in (*_ASKED, f"{API}.>")]
    imports.append({"stream": {"account": "services", "subject": _TOLD}})
    lines = ["services: {", "jetstream: enabled", f"exports: {json.dumps(exports)}"]
    lines += [_users([(account, permissions(account, accounts)) for account in services]).rstrip(), "}"]
    lines += ["people: {", f"imports: {json.dumps(imports)}"]
    lines += [_users([(account, permissions(account, accounts)) for account in people]).rstrip(), "}", ""]
    return "\n".join(lines)


_ASKED = ("pto.req.>", *BLOB_SUBJECTS, AUDIT_SUBJECT)
"""What people send to services."""
_TOLD = "pto-live.>"
"""What people hear of services beside the answers."""


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
