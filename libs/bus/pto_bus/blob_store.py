"""Blobs in the broker, for parties that share no disk: chunks on ``pto-blob.<sha256>.<n>``. Imports connect and direct.

The client library's object store is not used: each of its reads makes a consumer that outlives it, and a stream takes
at most 1,000 of those (error 10026); direct gets need none. Invariant: chunk 0 is stored last, so its presence means
that the blob is complete; the first writer of a chunk wins, and all writers of one digest write the same bytes.
"""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pto_bus import limits
from pto_bus.connect import Connection
from pto_bus.direct import get_last
from pto_bus.publisher import NotStored, Publisher, Refused
from pto_ports.blob_store import BlobDamaged, BlobMissing, StoreFull
from pto_ports.event_log import LogUnavailable, NotSettled, Outgoing
from pto_proto.ids import Digest, digest_of
from pto_proto.subjects import BLOB_STREAM, blob_subject

_SIZE = 8
"""Chunk 0 starts with the number of chunks as 8 bytes, big-endian."""
_FULL = {10077, 10047, 10122, 10023}


class NatsBlobStore:
    """A BlobStore in the stream ``PTO_BLOB``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._publisher = Publisher(connection)

    async def put(self, data: bytes) -> Digest:
        """As the port says. Raises LogUnavailable when the broker is away."""
        digest = digest_of(data)
        if not await self.has(digest):
            await self._store(digest, len(data), lambda start, end: data[start:end])
        return digest

    async def put_file(self, path: Path) -> Digest:
        """As the port says. Raises LogUnavailable when the broker is away."""
        digest = await asyncio.to_thread(_digest_of_file, path)
        if not await self.has(digest):
            with path.open("rb") as file:

                def read(start: int, end: int) -> bytes:
                    file.seek(start)
                    return file.read(end - start)

                await self._store(digest, path.stat().st_size, read)
        return digest

    async def get(self, digest: Digest) -> bytes:
        """As the port says. Raises LogUnavailable when the broker is away."""
        data = b"".join([chunk async for chunk in self._chunks(digest)])
        if digest_of(data) != digest:
            raise BlobDamaged(f"blob {digest} in the broker does not match its name")
        return data

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says. Raises LogUnavailable when the broker is away."""
        hasher = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                async for chunk in self._chunks(digest):
                    hasher.update(chunk)
                    file.write(chunk)
                if hasher.hexdigest() != digest:
                    raise BlobDamaged(f"blob {digest} in the broker does not match its name")
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(file.name).unlink()
                raise

    async def has(self, digest: Digest) -> bool:
        """As the port says. Raises LogUnavailable when the broker is away."""
        return await self._is_there(blob_subject(digest, 0))

    async def _store(self, digest: Digest, size: int, read: Callable[[int, int], bytes]) -> None:
        step = limits.BLOB_CHUNK_BYTES
        count = max(1, -(-size // step))
        for first in range(1, count, limits.BLOB_WINDOW):
            numbers = range(first, min(count, first + limits.BLOB_WINDOW))
            chunks = [self._store_chunk(digest, number, read(number * step, (number + 1) * step)) for number in numbers]
            for problem in await asyncio.gather(*chunks, return_exceptions=True):
                if problem is not None:
                    raise problem
        await self._store_chunk(digest, 0, count.to_bytes(_SIZE, "big") + read(0, step))

    async def _store_chunk(self, digest: Digest, number: int, data: bytes) -> None:
        """Without a wire id: the first writer wins anyway, and a blob may come again after it was collected."""
        subject = blob_subject(digest, number)
        problem: NotStored | NotSettled | None = None
        for _ in range(limits.BLOB_TRIES):
            try:
                await self._publisher.append([Outgoing(subject, data, "")])
            except (NotStored, NotSettled) as error:
                # The broker answers a second write of a chunk and a full stream alike; what is there settles it. In a
                # cluster the first write may be agreed on and not be there yet.
                if await self._is_there(subject):
                    return
                problem = error
                await asyncio.sleep(limits.BLOB_RETRY_S)
            else:
                return
        if isinstance(problem, NotStored | Refused) and problem.err_code in _FULL:
            raise StoreFull("the broker has no room for blobs: delete old runs or raise its limit") from problem
        raise LogUnavailable(f"chunk {number} of blob {digest} could not be stored: {problem}") from problem

    async def _is_there(self, subject: str) -> bool:
        """By the stream's list of subjects, which tells without sending the chunk."""
        info = await self._connection.api(f"STREAM.INFO.{BLOB_STREAM}", {"subjects_filter": subject})
        return bool(info["state"].get("subjects"))

    async def _chunks(self, digest: Digest) -> AsyncIterator[bytes]:
        first = await get_last(self._connection, BLOB_STREAM, blob_subject(digest, 0))
        if first is None:
            raise BlobMissing(f"no blob {digest} in the broker")
        yield first.data[_SIZE:]
        for number in range(1, int.from_bytes(first.data[:_SIZE], "big")):
            message = await get_last(self._connection, BLOB_STREAM, blob_subject(digest, number))
            if message is None:
                raise BlobDamaged(f"blob {digest} in the broker lacks its chunk {number}")
            yield message.data


def _digest_of_file(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
