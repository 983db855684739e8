"""Blobs as objects of a bucket, for parties that share no disk and want no big blobs in the broker.

Imports ports and siblings. Invariant: as of every blob store; an object's key is its digest, and it is written once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from pto_ports.blob_store import BlobDamaged, BlobMissing
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Digest, digest_of
from pto_s3.bucket import Bucket
from pto_s3.errors import ObjectDamaged, ObjectMissing, OtherContent, S3Away
from pto_s3.layout import blob_key
from pto_s3.pool import Pool
from pto_s3.upload import measure, put_file_once

Result = TypeVar("Result")


class S3BlobStore:
    """A BlobStore. While S3 is away it raises ``LogUnavailable``, as every store does that is not on this host."""

    def __init__(self, bucket: Bucket, pool: Pool) -> None:
        self._bucket = bucket
        self._pool = pool

    async def put(self, data: bytes) -> Digest:
        """As the port says. Raises S3Error."""
        digest = digest_of(data)
        await self._ask(digest, partial(self._bucket.put_once, blob_key(digest), data))
        return digest

    async def put_file(self, path: Path) -> Digest:
        """As the port says. Raises S3Error."""
        _, name = await asyncio.to_thread(measure, path)
        digest = Digest(name)
        # In a thread beside the pool, whose threads carry the parts.
        await _translated(digest, asyncio.to_thread(put_file_once, self._bucket, blob_key(digest), path, self._pool))
        return digest

    async def get(self, digest: Digest) -> bytes:
        """As the port says. Raises S3Error."""
        data = await self._ask(digest, partial(self._bucket.get, blob_key(digest)))
        if digest_of(data) != digest:
            raise BlobDamaged(f"s3://{self._bucket.name}/{blob_key(digest)} does not match its name: delete it")
        return data

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says. Raises S3Error."""
        await self._ask(digest, partial(self._bucket.get_file, blob_key(digest), path, digest))

    async def has(self, digest: Digest) -> bool:
        """As the port says. Raises S3Error."""
        with suppress(ObjectMissing):
            return await self._ask(digest, partial(self._bucket.head, blob_key(digest))) is not None
        return False

    async def _ask(self, digest: Digest, call: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        return await _translated(digest, loop.run_in_executor(self._pool.executor, call))


async def _translated(digest: Digest, answer: Awaitable[Result]) -> Result:
    try:
        return await answer
    except ObjectMissing as error:
        raise BlobMissing(f"no blob {digest}: {error}") from error
    except (ObjectDamaged, OtherContent) as error:
        raise BlobDamaged(str(error)) from error
    except S3Away as error:
        raise LogUnavailable(str(error)) from error
