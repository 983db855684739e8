"""A blob store with a bucket behind it: what the first does not have any more, or cannot give, the second may.

Imports ports and siblings. Invariant: it writes to the first one only; the bucket is filled by its own dispatcher.
"""

from pathlib import Path

from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Digest
from pto_s3.errors import S3Error


class BackedBlobStore:
    """A BlobStore on two. Where neither has a blob, the first one's refusal is raised, with what the second said."""

    def __init__(self, first: BlobStore, second: BlobStore) -> None:
        self._first = first
        self._second = second

    async def put(self, data: bytes) -> Digest:
        """As the port says, into the first."""
        return await self._first.put(data)

    async def put_file(self, path: Path) -> Digest:
        """As the port says, into the first."""
        return await self._first.put_file(path)

    async def get(self, digest: Digest) -> bytes:
        """As the port says, from either."""
        try:
            return await self._first.get(digest)
        except (BlobMissing, BlobDamaged, LogUnavailable) as refusal:
            try:
                return await self._second.get(digest)
            except (BlobMissing, BlobDamaged, LogUnavailable, S3Error) as other:
                raise type(refusal)(f"{refusal}; and {other}") from refusal

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says, from either."""
        try:
            await self._first.get_file(digest, path)
        except (BlobMissing, BlobDamaged, LogUnavailable) as refusal:
            try:
                await self._second.get_file(digest, path)
            except (BlobMissing, BlobDamaged, LogUnavailable, S3Error) as other:
                raise type(refusal)(f"{refusal}; and {other}") from refusal

    async def has(self, digest: Digest) -> bool:
        """As the port says: in the first, where it would be put."""
        return await self._first.has(digest)
