"""Removes folders that somebody else has filled, however deep.

Imports the standard library only. Invariant: it never raises for what is in there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess


def remove_folder(folder: str | os.PathLike[str]) -> None:
    """Remove it with all that is in it; what cannot be removed stays."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # deeper than Python can go, or than it may have files open
        with contextlib.suppress(OSError):
            subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)  # noqa: S607
