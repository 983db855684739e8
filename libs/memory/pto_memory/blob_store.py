"""The BlobStore port in memory. Imports ports and the standard library only.

Invariant: the same as the real stores': what a digest names never changes, and what does not fit changes nothing.
"""

from pathlib import Path

from pto_ports.blob_store import BlobDamaged, BlobMissing, StoreFull
from pto_proto.ids import Digest, digest_of


class MemoryBlobStore:
    """Blobs of one process; ``max_bytes`` (None: no limit) bounds their sum."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self.blobs: dict[Digest, bytes] = {}
        """What is stored; a test may damage it."""
        self._max_bytes = max_bytes

    async def put(self, data: bytes) -> Digest:
        """As the port says."""
        digest = digest_of(data)
        if digest not in self.blobs:
            used = sum(len(blob) for blob in self.blobs.values()) if self._max_bytes is not None else 0
            if self._max_bytes is not None and used + len(data) > self._max_bytes:
                raise StoreFull(f"no room for {len(data)} bytes: {used} of {self._max_bytes} are used")
            self.blobs[digest] = bytes(data)
        return digest

    async def put_file(self, path: Path) -> Digest:
        """As the port says."""
        return await self.put(path.read_bytes())

    async def get(self, digest: Digest) -> bytes:
        """As the port says."""
        if digest not in self.blobs:
            raise BlobMissing(f"no blob {digest} in memory")
        data = self.blobs[digest]
        if digest_of(data) != digest:
            raise BlobDamaged(f"blob {digest} in memory does not match its name")
        return data

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says."""
        data = await self.get(digest)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)

    async def has(self, digest: Digest) -> bool:
        """As the port says."""
        return digest in self.blobs
