"""The blob port: immutable bytes named by their SHA-256.

Invariant: what a digest names never changes; storing the same bytes again is harmless and cheap.
"""

from pathlib import Path
from typing import Protocol

from pto_proto.ids import Digest


class BlobMissing(Exception):
    """No blob has this digest here. Not the caller's fault when it was named by an event; trying again may help."""


class BlobDamaged(Exception):
    """The stored bytes do not match their digest. The store must be repaired; trying again will not help."""


class StoreFull(Exception):
    """The store has no room. Free some, then try again."""


class BlobStore(Protocol):
    """Content-addressed storage."""

    async def put(self, data: bytes) -> Digest:
        """Store ``data`` durably and return its digest. Raises StoreFull."""

    async def put_file(self, path: Path) -> Digest:
        """Store a file's content durably, without reading it whole into memory. Raises StoreFull."""

    async def get(self, digest: Digest) -> bytes:
        """The bytes, verified. Raises BlobMissing, BlobDamaged."""

    async def get_file(self, digest: Digest, path: Path) -> None:
        """Write the blob to ``path`` (its folder exists), by temporary file and rename. Raises BlobMissing,
        BlobDamaged.
        """

    async def has(self, digest: Digest) -> bool:
        """Whether the blob is stored here, complete."""
