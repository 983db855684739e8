"""A blob store that is away for a while delays, and fails only a service that stops."""

import asyncio

import pytest

from pto_memory.blob_store import MemoryBlobStore
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Digest
from pto_runtime.clock import SystemClock
from pto_runtime.patience import PatientBlobStore


class Away(MemoryBlobStore):
    """Refuses the first ``times`` calls."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def put(self, data: bytes) -> Digest:
        self.times -= 1
        if self.times >= 0:
            raise LogUnavailable("the broker is not connected")
        return await super().put(data)


async def test_it_stores_when_the_store_is_back() -> None:
    blobs = PatientBlobStore(Away(2), SystemClock(), asyncio.Event())
    digest = await blobs.put(b"worked out")
    assert await blobs.get(digest) == b"worked out"


async def test_it_does_not_keep_a_service_from_stopping() -> None:
    stop = asyncio.Event()
    blobs = PatientBlobStore(Away(1000), SystemClock(), stop)
    stop.set()
    with pytest.raises(LogUnavailable):
        await blobs.put(b"worked out")
