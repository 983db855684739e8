"""Renders the broker's configuration file from accounts and settings. Imports topology only.

Invariant: pure; the same arguments give the same text. The text holds passwords: whoever writes it makes the file 0600.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pto_bus import limits
from pto_bus.topology import Account, permissions


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
    lines += ["authorization {", "  users: ["]
    for account in accounts:
        user, password = json.dumps(account.user), json.dumps(account.password)
        lines.append(f"    {{ user: {user}, password: {password}, permissions: {json.dumps(permissions(account))} }}")
    return "\n".join([*lines, "  ]", "}", ""])
