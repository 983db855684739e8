"""A blob store that waits for its broker: what has been worked out is stored when the broker is back, and not lost.

Imports ports only. Invariant: it gives up on a broker that is away only when the service is asked to stop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pto_ports.blob_store import BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Digest
from pto_runtime.logs import get_logger

RETRY_S = 0.5
"""Pause before the next try; everything is checked by its digest, so trying again is harmless."""
Result = TypeVar("Result")


class PatientBlobStore:
    """A ``BlobStore`` on one whose broker may be away for a while."""

    def __init__(self, blobs: BlobStore, clock: Clock, stop: asyncio.Event) -> None:
        self._blobs = blobs
        self._clock = clock
        self._stop = stop

    async def put(self, data: bytes) -> Digest:
        """As the port says. Raises LogUnavailable only while the service stops."""
        return await self._try(lambda: self._blobs.put(data))

    async def put_file(self, path: Path) -> Digest:
        """As the port says. Raises LogUnavailable only while the service stops."""
        return await self._try(lambda: self._blobs.put_file(path))

    async def get(self, digest: Digest) -> bytes:
        """As the port says. Raises LogUnavailable only while the service stops."""
        return await self._try(lambda: self._blobs.get(digest))

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says. Raises LogUnavailable only while the service stops."""
        return await self._try(lambda: self._blobs.get_file(digest, path))

    async def has(self, digest: Digest) -> bool:
        """As the port says. Raises LogUnavailable only while the service stops."""
        return await self._try(lambda: self._blobs.has(digest))

    async def _try(self, call: Callable[[], Awaitable[Result]]) -> Result:
        is_told = False
        while True:
            try:
                return await call()
            except LogUnavailable as away:
                if self._stop.is_set():
                    raise
                if not is_told:
                    is_told = True
                    get_logger().warning("the blob store is away; trying on", reason=str(away))
                await self._clock.sleep(RETRY_S)
