"""Finds and ends processes by a mark in their environment, which every child inherits, whatever session it moved to.

Imports the standard library only (Linux ``/proc``). Invariant: it never kills a process without the mark, nor its
caller.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from pto_harness.limits import STRAY_PASSES


def find_strays(marker: str) -> list[int]:
    """Process ids whose environment holds ``marker`` (``NAME=value``), the caller left out."""
    wanted, found = marker.encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def kill_strays(marker: str, passes: int = STRAY_PASSES) -> int:
    """SIGKILL them until a pass finds none; returns how many were killed."""
    killed: set[int] = set()
    for _ in range(passes):
        found = find_strays(marker)
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    return len(killed)
