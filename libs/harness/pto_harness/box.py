"""What one sandbox shows and allows.

Imports nothing. Invariant: what is not named here or in ``host_files`` is neither seen nor changed from inside.
"""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """Made for one command; paths are absolute and the same inside and outside."""

    workspace: str
    """Where it works and may write."""
    writable: tuple[str, ...] = ()
    """Folders besides."""
    readable: tuple[str, ...] = ()
    """Files and folders besides those of ``host_files``."""
    network: bool = False
    lenient: bool = False
    """Whether it may have the host's network where none of its own can be made: it needs loopback, and is trusted."""
    keeps_home: bool = False
    """Whether HOME stays what the environment says; else it is the sandbox's own, empty one, as is TMPDIR."""
