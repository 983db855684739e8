"""Whether this node can reach the model that an agent is to ask: many compute nodes have no way out.

Imports the standard library only, Python >= 3.8. Invariant: a route is denied only after several tries; what lies
behind it (keys, quotas) is not asked for here.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_TEXT = ("simulated",)
"""Engines that ask nobody."""
ANTHROPIC = "https://api.anthropic.com"
TRIES, WAIT_S, EACH_S = 3, 2.0, 5.0
PORTS = {"http": 80, "https": 443}


class Route(NamedTuple):
    """Where the first connection goes: the model's host, or the proxy on the way."""

    host: str
    port: int
    is_proxy: bool


def route_of(engine: str, environment: Mapping[str, str]) -> Route | None:
    """Where this engine's questions go with these variables; None: nowhere."""
    if engine in OWN_TEXT:
        return None
    url = urlsplit(_base_url(environment))
    proxy = _get(environment, "HTTPS_PROXY" if url.scheme == "https" else "HTTP_PROXY") or _get(
        environment, "ALL_PROXY"
    )
    if proxy and not _is_direct(url.hostname or "", _get(environment, "NO_PROXY")):
        url, is_proxy = urlsplit(proxy if "//" in proxy else f"//{proxy}"), True
    else:
        is_proxy = False
    try:
        port = url.port
    except ValueError:
        return None
    return Route(url.hostname, port or PORTS.get(url.scheme, 443), is_proxy) if url.hostname else None


def why_not(route: Route) -> str:
    """Why no connection can be made; empty: one was made."""
    reason = ""
    for number in range(TRIES):
        if number:
            time.sleep(WAIT_S)
        try:
            socket.create_connection((route.host, route.port), timeout=EACH_S).close()
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return ""
    return reason


def _base_url(environment: Mapping[str, str]) -> str:
    if environment.get("PTO_MODEL_PROVIDER") == "bedrock":
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        return environment.get("ANTHROPIC_BEDROCK_BASE_URL") or f"https://bedrock-runtime.{region}.amazonaws.com"
    return environment.get("ANTHROPIC_BASE_URL") or ANTHROPIC


def _get(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def _is_direct(host: str, exceptions: str) -> bool:
    names = [name.strip().lstrip(".").lower() for name in exceptions.split(",") if name.strip()]
    return any(name == "*" or host == name or host.endswith(f".{name}") for name in names)
