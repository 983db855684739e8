"""The port of snapshots: where one service instance keeps the last state it wrote down.

Invariant: a snapshot only saves time. None, an old or a damaged one costs a longer start and nothing else.
"""

from typing import Protocol


class SnapshotNotSaved(Exception):
    """The snapshot could not be kept; the one before it still is. Nothing is lost; the next start takes longer."""


class SnapshotStore(Protocol):
    """Keeps the last snapshot of one instance."""

    async def load(self) -> bytes | None:
        """The bytes that were saved last; None if there are none that can be read."""

    async def save(self, data: bytes) -> None:
        """Keep these bytes instead of what was there, whole or not at all. Raises SnapshotNotSaved."""
