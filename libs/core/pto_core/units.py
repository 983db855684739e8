"""Sizes and times as people write them in plans and flags, turned into numbers.

Imports the standard library only. Invariant: what one of these functions takes means the same to SLURM, except that a
bare number of a time is seconds here (SLURM: minutes); ``slurm_time`` writes a form that both read the same way.
"""

import re

_MEMORY = re.compile(r"(\d{1,15})\s?([KMGT]?)(?:i?B)?\Z", re.IGNORECASE | re.ASCII)
_FACTOR = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TIME = re.compile(r"(?:(?P<d>\d{1,5})-)?(?P<rest>\d{1,9}(?::\d{1,2}){0,2})\Z", re.ASCII)
MAX_MEMORY_BYTES = 2**50
"""More than any machine has (1 PiB): above it somebody mistook the unit."""
MAX_TIME_S = 366 * 86_400
"""A year: above it somebody mistook the unit."""


def parse_memory_bytes(text: str) -> int:
    """Bytes of ``4G``, ``500M`` or ``1024``; K, M, G and T are binary. Raises ValueError with one sentence."""
    match = _MEMORY.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a memory size; write for example 500M or 4G")
    size = int(match[1]) * _FACTOR[match[2].upper()]
    if not 0 < size <= MAX_MEMORY_BYTES:
        raise ValueError(f"{text!r} is not a possible memory size; write for example 500M or 4G")
    return size


def parse_time_s(text: str) -> int:
    """Seconds of ``90``, ``MM:SS``, ``HH:MM:SS`` or ``D-HH[:MM[:SS]]``. Raises ValueError with one sentence."""
    match = _TIME.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time; write seconds, MM:SS, HH:MM:SS or D-HH:MM:SS")
    parts = [int(part) for part in match["rest"].split(":")]
    if match["d"] is not None:
        hours, minutes, seconds = ([*parts, 0, 0])[:3]
    else:
        hours, minutes, seconds = ([0, 0, 0, *parts])[-3:]
    if len(parts) > 1 and any(part > 59 for part in parts[1:]):
        raise ValueError(f"{text!r} is not a time; minutes and seconds after a colon go up to 59")
    total = int(match["d"] or 0) * 86_400 + hours * 3_600 + minutes * 60 + seconds
    if not 0 < total <= MAX_TIME_S:
        raise ValueError(f"{text!r} is not a possible time limit; it must be between 1 second and a year")
    return total


def slurm_time(seconds: int) -> str:
    """``D-HH:MM:SS`` or ``HH:MM:SS``: the form that SLURM and ``parse_time_s`` read the same way."""
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3_600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
