"""What of this host every sandbox shows, read-only: programs, libraries, and the few settings they need.

Imports the standard library only. Invariant: no home, no password, no key and no socket of a service is on these lists.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
SETTINGS = (
    "/etc/alternatives", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/fonts", "/etc/group", "/etc/hosts",
    "/etc/java-11-openjdk", "/etc/java-17-openjdk", "/etc/java-21-openjdk", "/etc/ld.so.cache", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/localtime", "/etc/magic", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd",
    "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/protocols", "/etc/services",
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
)  # fmt: skip
NETWORK_SETTINGS = ("/etc/resolv.conf", "/etc/gai.conf", "/etc/host.conf")
MORE = "PTO_SANDBOX_READ"
"""Further folders to show, separated by colons: tools that lie in a home, such as ~/.nvm/versions/node/v22."""
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
"""Variables that name files which a program with network must be able to read."""


def shown_paths(host: Mapping[str, str] = os.environ) -> list[str]:
    """Everything that is read-only in every sandbox: system, settings, this Python with its packages, and ``MORE``."""
    more = [str(Path(path).expanduser()) for path in host.get(MORE, "").split(":") if path]
    return _once([*SYSTEM, *SETTINGS, *_python(), *more])


def network_paths(environment: Mapping[str, str]) -> list[str]:
    """What a program that may use the network reads besides; links are followed to the files they mean."""
    named = [environment[name] for name in CERTIFICATES if environment.get(name)]
    return _once([*NETWORK_SETTINGS, *map(os.path.realpath, NETWORK_SETTINGS), *named])


def _python() -> list[str]:
    # Where the links in the virtual environment lead to; never a root, which would show everything.
    prefixes = (sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix))
    return [prefix for prefix in prefixes if len(Path(prefix).parts) > 2]


def _once(paths: list[str]) -> list[str]:
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]  # noqa: PTH110
