"""One suite for every BlobStore: memory, a directory, the broker, S3."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pto_blobs.directory import DirectoryBlobStore
from pto_bus.blob_store import NatsBlobStore
from pto_bus.limits import BLOB_CHUNK_BYTES
from pto_memory import MemoryBlobStore
from pto_ports.blob_store import BlobMissing, BlobStore
from pto_proto.ids import Digest, digest_of
from pto_s3 import S3BlobStore

SIZES = [0, 1, BLOB_CHUNK_BYTES - 1, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES + 1, 5 * BLOB_CHUNK_BYTES + 17]


@pytest.fixture(params=["memory", "directory", "nats", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "nats":
        request.getfixturevalue("connect_as")
    if request.param == "s3":
        request.getfixturevalue("bucket")
    return str(request.param)


@pytest.fixture
async def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    makers: dict[str, Callable[[], BlobStore]] = {
        "memory": MemoryBlobStore,
        "directory": lambda: DirectoryBlobStore(tmp_path / "blobs"),
    }
    if kind in makers:
        return makers[kind]()
    if kind == "s3":
        return S3BlobStore(request.getfixturevalue("bucket"), request.getfixturevalue("pool"))
    return NatsBlobStore(await request.getfixturevalue("connect_as")("requester"))


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_put_can_be_got(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    digest = await store.put(data)
    assert digest == digest_of(data)
    assert await store.has(digest)
    assert await store.get(digest) == data


@pytest.mark.parametrize("size", [0, 1, 3 * BLOB_CHUNK_BYTES + 1])
async def test_files_go_in_and_out(store: BlobStore, size: int, tmp_path: Path) -> None:
    source, target = tmp_path / "source file", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    digest = await store.put_file(source)
    assert digest == digest_of(source.read_bytes())
    await store.get_file(digest, target)
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["source file", "target"]


async def test_putting_again_is_harmless(store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(2 * BLOB_CHUNK_BYTES)
    (tmp_path / "same").write_bytes(data)
    digests = {await store.put(data), await store.put(data), await store.put_file(tmp_path / "same")}
    assert digests == {digest_of(data)}
    assert await store.get(digest_of(data)) == data


async def test_the_same_bytes_may_be_put_at_the_same_time(store: BlobStore) -> None:
    data = os.urandom(3 * BLOB_CHUNK_BYTES)
    digests = await asyncio.gather(*(store.put(data) for _ in range(4)))
    assert set(digests) == {digest_of(data)}
    assert await store.get(digests[0]) == data


async def test_missing_blob_is_said_to_be_missing(store: BlobStore, tmp_path: Path) -> None:
    nobody = Digest("0" * 64)
    assert not await store.has(nobody)
    with pytest.raises(BlobMissing):
        await store.get(nobody)
    with pytest.raises(BlobMissing):
        await store.get_file(nobody, tmp_path / "target")
    assert not (tmp_path / "target").exists()


async def test_a_folder_tells_when_a_blob_was_stored_last_and_lets_go_of_it(tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    assert list(store.stored()) == []
    digest = await store.put(b"data")
    (tmp_path / "source").write_bytes(b"data")
    for again in (lambda: store.put(b"data"), lambda: store.put_file(tmp_path / "source")):
        os.utime(store.path_of(digest), (1, 1))
        assert list(store.stored()) == [(digest, 1.0)]
        assert await again() == digest
        ((_, at),) = store.stored()
        assert at > 1
    assert store.discard(digest) == 4
    assert store.discard(digest) == 0
    assert not await store.has(digest)
