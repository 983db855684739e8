"""Small blobs on their way to the disk: what is done before what, and who hears of failures."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from pto_blobs.directory import GROUPED_BYTES, DirectoryBlobStore
from pto_ports.blob_store import StoreFull
from pto_proto.ids import Digest, digest_of


class Disk:
    """Watches what is synced and named, by inode, and refuses on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, int]] = []
        self.refuse: set[bytes] = set()
        self._fsync, self._rename = os.fsync, os.rename
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "rename", self.rename)

    def fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file() and path.read_bytes() in self.refuse:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._fsync(descriptor)
        self.done.append(("synced", os.fstat(descriptor).st_ino))

    def rename(self, source: str, target: Path) -> None:
        self._rename(source, target)
        self.done.append(("named", target.stat().st_ino))

    def when(self, what: str, path: Path) -> int:
        return self.done.index((what, path.stat().st_ino))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_bytes_are_synced_before_the_name_and_the_name_before_the_answer(disk: Disk, tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    seen: dict[Digest, int] = {}

    async def put(data: bytes) -> None:
        digest = await store.put(data)
        seen[digest] = len(disk.done)

    await asyncio.gather(*(put(b"blob %d" % number) for number in range(40)))
    assert len(seen) == 40
    for digest, answered in seen.items():
        path = store.path_of(digest)
        named = disk.when("named", path)
        assert disk.when("synced", path) < named
        folder_syncs = [at for at, entry in enumerate(disk.done) if entry == ("synced", path.parent.stat().st_ino)]
        assert any(named < at < answered for at in folder_syncs)


async def test_what_waits_while_a_group_is_written_is_the_next_group(disk: Disk, tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    # All of one folder: a group needs one sync for all its names.
    blobs = [data for data in (b"%d" % number for number in range(6000)) if digest_of(data).startswith("ab")]
    await asyncio.gather(*(store.put(data) for data in blobs))
    folder = (tmp_path / "blobs" / "ab").stat().st_ino
    assert len(blobs) > 10
    assert disk.done.count(("synced", folder)) == 1


async def test_a_blob_that_cannot_be_written_fails_alone(disk: Disk, tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    disk.refuse.add(b"bad")
    results = await asyncio.gather(
        *(store.put(data) for data in (b"good", b"bad", b"also good")), return_exceptions=True
    )
    assert [type(result) for result in results] == [str, StoreFull, str]
    assert not await store.has(digest_of(b"bad"))
    assert {path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()} == {
        digest_of(b"good"), digest_of(b"also good")
    }  # fmt: skip
    disk.refuse.clear()
    assert await store.get(await store.put(b"bad")) == b"bad"


async def test_who_puts_what_is_on_its_way_waits_for_it_too(disk: Disk, tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    digest = digest_of(b"same")

    async def put_again() -> int:
        while not await store.has(digest):  # noqa: ASYNC110 - the moment between the name and its sync is wanted
            await asyncio.sleep(0)
        await store.put(b"same")
        return len(disk.done)

    _, answered = await asyncio.gather(store.put(b"same"), put_again())
    path = store.path_of(digest)
    last = max(at for at, entry in enumerate(disk.done) if entry == ("synced", path.parent.stat().st_ino))
    assert disk.when("named", path) < last < answered


async def test_one_who_gives_up_does_not_take_the_others_along(tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    hasty, patient = asyncio.create_task(store.put(b"same")), asyncio.create_task(store.put(b"same"))
    await asyncio.sleep(0)
    hasty.cancel()
    assert await store.get(await patient) == b"same"
    assert hasty.cancelled()


async def test_files_of_all_sizes_are_taken_in(tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    for size in (0, GROUPED_BYTES - 1, GROUPED_BYTES, GROUPED_BYTES + 1):
        data = os.urandom(size)
        (tmp_path / "file").write_bytes(data)
        assert await store.put_file(tmp_path / "file") == digest_of(data)
        assert await store.get(digest_of(data)) == data
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
