"""The SnapshotStore port in memory. Imports ports only.

Invariant: what was saved last is what is loaded.
"""


class MemorySnapshotStore:
    """Keeps the last snapshot for as long as it lives itself."""

    def __init__(self) -> None:
        self._data: bytes | None = None

    async def load(self) -> bytes | None:
        """As the port says."""
        return self._data

    async def save(self, data: bytes) -> None:
        """As the port says."""
        self._data = bytes(data)
