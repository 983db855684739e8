"""Remembers which outputs of an attempt were taken, for whoever takes the attempt over when its checks were under way.

Imports the standard library only. Invariant: what is read was written whole, by this class; checks cannot change it,
because it lies outside of the workspace.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Kept:
    """One attempt's memory, in a file. Without a path there is none."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def read(self) -> dict[str, Any] | None:
        """What was taken, if that was written down before."""
        if self._path is None:
            return None
        try:
            return dict(json.loads(self._path.read_text()))
        except (OSError, ValueError):
            return None

    def write(self, taken: dict[str, Any]) -> dict[str, Any]:
        """Write it down; the same is returned."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(self._path.name + ".part")
            part.write_text(json.dumps(taken))
            part.replace(self._path)
        return taken
