"""Remembers what was asked: every request, with credentials taken out and said by name.

Standard library only. Invariant: no credential that came in a header is kept; a known key found anywhere else is named, and
replaced where it stood.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SECRET_HEADERS = {"authorization", "proxy-authorization", "x-api-key", "x-amz-security-token", "cookie"}
REDACTED = "<redacted>"
SIGNED = re.compile(r"Credential=[^/,\s]+/([^,\s]+)")


@dataclass
class RecordedRequest:
    number: int
    at_s: float
    """Seconds since the server began."""
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    keys: tuple[str, ...]
    """Names of known credentials in the headers."""
    leaked: tuple[str, ...]
    """Names of known credentials in the body or the path, where none belongs."""
    request_id: str
    model: str = ""
    stream: bool = False
    turn: int = 0
    rule: str | None = None
    fault: str | None = None
    status: int = 0
    """What was answered; 0 while nothing is, or when the connection was cut before."""
    delivered: bool = False
    """The whole answer went out."""


@dataclass
class Records:
    known_keys: Mapping[str, str]
    requests: list[RecordedRequest] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def add(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> RecordedRequest:
        lowered = {name.lower(): value for name, value in headers.items()}
        number = len(self.requests) + 1
        request = RecordedRequest(
            number=number,
            at_s=time.monotonic() - self._began,
            method=method,
            path=self._clean(path),
            headers={name: self._clean(_shown(name, value)) for name, value in lowered.items()},
            body=self._clean(body),
            keys=tuple(
                name for name, key in self.known_keys.items() if any(key in value for value in lowered.values())
            ),
            leaked=tuple(name for name, key in self.known_keys.items() if _holds(body, key) or key in path),
            request_id=f"req_{number:024d}",
        )
        self.requests.append(request)
        return request

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            for name, key in self.known_keys.items():
                value = value.replace(key, f"<{name}>")
            return value
        if isinstance(value, list):
            return [self._clean(part) for part in value]
        if isinstance(value, dict):
            return {self._clean(name): self._clean(part) for name, part in value.items()}
        return value


def has_credential(headers: Mapping[str, str]) -> bool:
    return bool(headers.get("x-api-key") or headers.get("authorization"))


def _shown(name: str, value: str) -> str:
    """The scheme of a credential stays visible, and the scope of a signature: region and service."""
    if name not in SECRET_HEADERS:
        return value
    if name != "authorization":
        return REDACTED
    scheme, _, rest = value.partition(" ")
    scope = SIGNED.search(rest)
    return f"{scheme} Credential={REDACTED}/{scope[1]}" if scope else f"{scheme} {REDACTED}" if rest else REDACTED


def _holds(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return any(_holds(part, key) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_holds(part, key) for part in value)
    return isinstance(value, str) and key in value
