"""What an attempt that was cut off leaves for the next one: its workspace, and a file beside it with its notes.

Imports the standard library only. Invariant: the file is there as long as the attempt has not come to an end of its
own; so after a kill it is there.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pto_harness.limits import MAX_NOTES_BYTES

CUT_OFF = frozenset(("timeout", "capacity", "infra", "budget", "cancelled", "config"))
"""Failures that say nothing about the work done so far; ``task`` does, and the next attempt starts afresh."""


class Unfinished:
    """The mark of one attempt. Without a path it keeps nothing."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def begin(self) -> None:
        """The attempt works from here on."""
        self.keep("")

    def keep(self, notes: str) -> None:
        """Replace the notes; what is too long loses its beginning."""
        if self._path is not None:
            data = notes.encode(errors="replace")[-MAX_NOTES_BYTES:]
            part = self._path.with_name(self._path.name + ".part")
            with contextlib.suppress(OSError):  # what is lost costs time, not truth
                part.write_bytes(data)
                part.replace(self._path)

    def end(self, failure: str | None) -> None:
        """The attempt came to its end; whether the next one may go on from here depends on how."""
        if self._path is not None and failure not in CUT_OFF:
            with contextlib.suppress(OSError):
                self._path.unlink()


def earlier_work(task: dict[str, Any]) -> tuple[Path, str] | None:
    """(workspace, notes) of the attempt before, if it was cut off: ``earlier`` of the task is [workspace, mark]."""
    if not task.get("earlier"):
        return None
    workspace, mark = map(Path, task["earlier"])
    if not (workspace.is_dir() and mark.is_file()):
        return None
    try:
        return workspace, mark.read_text(errors="replace")
    except OSError:
        return None
