"""A blob store whose own files are not used where they lie: nodes see the shared file system only.

Imports the port only. Invariant: whatever the store is, its blobs are brought to where they are asked for.
"""

from pathlib import Path

from pto_ports.blob_store import BlobStore
from pto_proto.ids import Digest


class RemoteBlobs:
    """A ``BlobStore`` that hides where another one keeps its files."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def put(self, data: bytes) -> Digest:
        """As the port says."""
        return await self._blobs.put(data)

    async def put_file(self, path: Path) -> Digest:
        """As the port says."""
        return await self._blobs.put_file(path)

    async def get(self, digest: Digest) -> bytes:
        """As the port says."""
        return await self._blobs.get(digest)

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says."""
        await self._blobs.get_file(digest, path)

    async def has(self, digest: Digest) -> bool:
        """As the port says."""
        return await self._blobs.has(digest)
