"""Snapshots as files of one host: ``<folder>/<instance>.snapshot``. Imports ports and siblings only.

Invariant: a file at its final name is complete and on disk; a crash leaves the one before it. Instances may share the
folder.
"""

import asyncio
from pathlib import Path

from pto_blobs.directory import replacing
from pto_ports.blob_store import StoreFull
from pto_ports.snapshots import SnapshotNotSaved
from pto_proto.ids import InstanceId


class DirectorySnapshotStore:
    """The SnapshotStore of one instance in a folder, made when first needed."""

    def __init__(self, folder: Path, instance: InstanceId) -> None:
        self._path = folder / f"{instance}.snapshot"

    async def load(self) -> bytes | None:
        """As the port says."""
        return await asyncio.to_thread(self._read)

    async def save(self, data: bytes) -> None:
        """As the port says."""
        try:
            await asyncio.to_thread(self._write, data)
        except (OSError, StoreFull) as error:
            raise SnapshotNotSaved(f"no snapshot was written to {self._path}: {error}") from error

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None

    def _write(self, data: bytes) -> None:
        with replacing(self._path) as file:
            file.write(data)
