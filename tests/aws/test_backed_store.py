"""Outputs come back from the broker, or else from the bucket."""

from pathlib import Path

import pytest

from pto_memory import MemoryBlobStore
from pto_ports.blob_store import BlobMissing
from pto_proto.ids import Digest, digest_of
from pto_s3 import BackedBlobStore, Bucket, Pool, S3BlobStore

from .proxy import Fault, Proxy


@pytest.fixture
def second(shaky: Bucket, pool: Pool) -> S3BlobStore:
    return S3BlobStore(shaky, pool)


async def test_what_the_first_has_is_not_asked_of_the_bucket(second: S3BlobStore, proxy: Proxy, tmp_path: Path) -> None:
    first = MemoryBlobStore()
    store = BackedBlobStore(first, second)
    digest = await store.put(b"data")
    assert await store.get(digest) == b"data"
    assert await store.has(digest)
    await store.get_file(digest, tmp_path / "file")
    assert not proxy.seen


async def test_what_the_first_has_no_more_comes_from_the_bucket(second: S3BlobStore, tmp_path: Path) -> None:
    digest = await second.put(b"data")
    store = BackedBlobStore(MemoryBlobStore(), second)
    assert await store.get(digest) == b"data"
    await store.get_file(digest, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"data"


async def test_where_neither_has_it_both_are_told(second: S3BlobStore, proxy: Proxy, tmp_path: Path) -> None:
    store = BackedBlobStore(MemoryBlobStore(), second)
    with pytest.raises(BlobMissing, match="and no blob"):
        await store.get(digest_of(b"nothing"))
    proxy.faults.append(Fault("denied", "GET", times=9))
    with pytest.raises(BlobMissing, match="s3:GetObject"):
        await store.get_file(Digest("0" * 64), tmp_path / "file")
