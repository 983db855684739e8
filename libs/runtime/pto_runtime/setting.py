"""One setting of a service: the variable that it comes from, and how its text is read.

Imports core and proto only. Invariant: text that cannot be used is refused with what it must be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pto_core.units import parse_memory_bytes
from pto_proto.ids import is_instance_id, is_lane

ENGINES = ("simulated", "api", "claude-code")
MAX_PORT = 65_535
MAX_SITE_CHARS = 48
MAX_DRAIN_S = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One environment variable."""

    name: str
    default: str
    meaning: str
    parse: Callable[[str], Any] = str
    is_secret: bool = False


def as_capacity(text: str) -> int:
    """How many attempts at once. Raises ValueError."""
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise ValueError("must be a number from 1 to 10000")
    return int(text)


def as_seconds(text: str) -> float:
    """Whole seconds. Raises ValueError."""
    if not text.isdigit() or int(text) > MAX_DRAIN_S:
        raise ValueError(f"must be a number of seconds up to {MAX_DRAIN_S}")
    return float(text)


def as_instance(text: str) -> str:
    """The name of an instance, or none. Raises ValueError."""
    if text and not is_instance_id(text):
        raise ValueError("must be 1-64 characters of a-z, 0-9 and -")
    return text


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def as_engines(text: str) -> tuple[str, ...]:
    """Names of engines, separated by commas or blanks. Raises ValueError."""
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not names or not set(names) <= set(ENGINES):
        raise ValueError(f"must name some of {', '.join(ENGINES)}")
    return names


def as_blobs(text: str) -> str:
    """Where blobs are. Raises ValueError."""
    if text != "nats" and not (text.startswith("dir:") and len(text) > len("dir:")):
        raise ValueError("must be nats or dir:FOLDER")
    return text


def as_size(text: str) -> int:
    """Bytes. Raises ValueError."""
    try:
        return parse_memory_bytes(text)
    except ValueError:
        raise ValueError("must be a size such as 512M or 4G") from None


def as_cpus(text: str) -> float:
    """Processors; 0: all. Raises ValueError."""
    try:
        cpus = float(text)
    except ValueError:
        cpus = -1.0
    if not 0 <= cpus <= 10_000:
        raise ValueError("must be a number of processors such as 2 or 0.5, or 0 for all")
    return cpus


def as_processes(text: str) -> int:
    """How many processes a container may have. Raises ValueError."""
    if not text.isdigit() or not 16 <= int(text) <= 1_000_000:
        raise ValueError("must be a number from 16 to 1000000")
    return int(text)


def as_socket(text: str) -> str:
    """A socket of this host. Raises ValueError."""
    path = text.removeprefix("unix://")
    if not path.startswith("/"):
        raise ValueError("must be a socket of this host, such as /var/run/docker.sock")
    return path


def as_address(text: str) -> tuple[str, int] | None:
    """Where to listen; None: nowhere. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not text:
        return None
    if not colon or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError("must be HOST:PORT such as 127.0.0.1:9464")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - asked for by leaving the host out


def as_path(text: str) -> Path | None:
    """A path; None: none."""
    return Path(text) if text else None


def number_in(low: float, high: float) -> Callable[[str], float]:
    """A number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def as_site(text: str) -> str:
    """The name of a cluster. Raises ValueError."""
    if not is_lane(f"slurm-{text}") or len(text) > MAX_SITE_CHARS:
        raise ValueError(f"must be 1-{MAX_SITE_CHARS} characters of a-z, 0-9 and -")
    return text


def amount_by(parse_amount: Callable[[str], object], example: str) -> Callable[[str], str]:
    """Text that ``parse_amount`` takes, as it stands, or none."""

    def parse(text: str) -> str:
        try:
            if text:
                parse_amount(text)
        except ValueError as error:
            raise ValueError(f"must be written as {example}") from error
        return text

    return parse
