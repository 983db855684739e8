"""One suite for every SnapshotStore: memory and a directory."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from pto_blobs.snapshots import DirectorySnapshotStore
from pto_memory import MemorySnapshotStore
from pto_ports.snapshots import SnapshotNotSaved, SnapshotStore
from pto_proto.ids import InstanceId
from pto_runtime.gc_pause import gc_paused

ME = InstanceId("scheduler")


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    makers: dict[str, Callable[[], SnapshotStore]] = {
        "memory": MemorySnapshotStore,
        "directory": lambda: DirectorySnapshotStore(tmp_path / "snapshots", ME),
    }
    return makers[str(request.param)]()


async def test_what_was_saved_last_is_loaded(store: SnapshotStore) -> None:
    assert await store.load() is None
    for data in (b"first" * 100_000, b"second", b""):
        await store.save(data)
        assert await store.load() == data


async def test_instances_share_a_folder_and_leave_nothing_beside_their_files(tmp_path: Path) -> None:
    for name in ("scheduler", "scheduler-2"):
        await DirectorySnapshotStore(tmp_path, InstanceId(name)).save(name.encode())
    assert await DirectorySnapshotStore(tmp_path, ME).load() == b"scheduler"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scheduler-2.snapshot", "scheduler.snapshot"]


async def test_a_snapshot_that_cannot_be_written_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectorySnapshotStore(tmp_path, ME)
    await store.save(b"before")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(SnapshotNotSaved, match="no snapshot was written"):
        await store.save(b"after")
    assert await store.load() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["scheduler.snapshot"]


async def test_a_folder_that_cannot_be_used_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = DirectorySnapshotStore(tmp_path / "file", ME)
    assert await store.load() is None
    with pytest.raises(SnapshotNotSaved):
        await store.save(b"x")


def test_building_pauses_the_search_for_garbage() -> None:
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()
