"""The mirror, round by round: what one run or one object has wrong holds up nothing else."""

from pathlib import Path

import msgspec
import pytest

from pto_dispatcher_parallelcluster.mirror import QUIET_ROUNDS, Mirror
from pto_dispatcher_parallelcluster.shelf import Result, Shelf
from pto_memory import MemoryBlobStore
from pto_proto.ids import Digest, RunId
from pto_runtime.clock import SystemClock
from pto_s3 import Area, Bucket, Pool, blob_key, run_prefix

from .proxy import Fault, Proxy

FIRST, SECOND = RunId("run-000001"), RunId("run-000002")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    made = Shelf(tmp_path / "shelf")
    made.root.mkdir()
    return made


@pytest.fixture
def blobs() -> MemoryBlobStore:
    return MemoryBlobStore()


def mirror_of(shelf: Shelf, bucket: Bucket, pool: Pool, blobs: MemoryBlobStore) -> Mirror:
    return Mirror(shelf, bucket, pool, SystemClock(), blobs, lambda run: shelf.root.parent / "work" / run)


def tell(shelf: Shelf, run: RunId, *, log: str = "") -> None:
    path = shelf.root / run / "told" / "t.1.7.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        msgspec.json.encode(Result(run=run, task="t", attempt=1, round=0, outcome="succeeded", log=Digest(log)))
    )


def results(bucket: Bucket, run: RunId) -> list[str]:
    prefix = run_prefix(run, Area.RESULTS)
    return [stored.key.removeprefix(prefix) for stored in bucket.list(prefix)]


async def test_a_run_without_files_is_settled(bucket: Bucket, pool: Pool, shelf: Shelf, blobs: MemoryBlobStore) -> None:
    mirror = mirror_of(shelf, bucket, pool, blobs)
    mirror.touch(FIRST)
    for _ in range(QUIET_ROUNDS + 1):
        await mirror.round()
    assert (shelf.root / FIRST / "settled").exists()


async def test_a_result_that_cannot_be_read_holds_up_nothing(
    bucket: Bucket, pool: Pool, shelf: Shelf, blobs: MemoryBlobStore
) -> None:
    for run in (FIRST, SECOND):
        tell(shelf, run)
    (shelf.root / FIRST / "told" / "a.1.6.json").write_bytes(b"\0\0\0")
    mirror = mirror_of(shelf, bucket, pool, blobs)
    mirror.open()
    for _ in range(2):
        await mirror.round()
    assert (results(bucket, FIRST), results(bucket, SECOND)) == (["a.1.6.json", "t.1.7.json"], ["t.1.7.json"])


async def test_a_damaged_object_of_one_run_holds_up_nothing(
    bucket: Bucket, pool: Pool, shelf: Shelf, blobs: MemoryBlobStore
) -> None:
    for run in (FIRST, SECOND):
        tell(shelf, run)
    bucket.client.put_object(
        Bucket=bucket.name, Key=run_prefix(FIRST, Area.RESULTS) + "a.json", Body=b"!", Metadata={"sha256": "0" * 64}
    )
    state = shelf.root.parent / "work" / FIRST
    state.mkdir(parents=True)
    (state / "jobs.json").write_bytes(b"{}")
    mirror = mirror_of(shelf, bucket, pool, blobs)
    mirror.open()
    for _ in range(2):
        await mirror.round()
    assert (results(bucket, FIRST), results(bucket, SECOND)) == (["a.json", "t.1.7.json"], ["t.1.7.json"])
    assert bucket.get(run_prefix(FIRST, Area.STATE) + "jobs.json") == b"{}"


async def test_what_is_denied_of_one_run_holds_up_no_other(
    shaky: Bucket, proxy: Proxy, pool: Pool, shelf: Shelf, blobs: MemoryBlobStore
) -> None:
    for run in (FIRST, SECOND):
        tell(shelf, run)
    proxy.faults.append(Fault("denied", "PUT", f"{FIRST}/", times=99))
    mirror = mirror_of(shelf, shaky, pool, blobs)
    mirror.open()
    await mirror.round()
    assert results(shaky, SECOND) == ["t.1.7.json"]
    proxy.faults.clear()
    await mirror.round()
    assert results(shaky, FIRST) == ["t.1.7.json"]


async def test_an_output_whose_place_holds_another_content_holds_up_no_other_run(
    bucket: Bucket, pool: Pool, shelf: Shelf, blobs: MemoryBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await blobs.put(b"said")
    tell(shelf, FIRST, log=log)
    tell(shelf, SECOND)
    mirror = mirror_of(shelf, bucket, pool, blobs)
    head = bucket.head

    def look_before_somebody_writes(key: str):  # type: ignore[no-untyped-def]
        found = head(key)
        if key == blob_key(log) and found is None:
            bucket.put_once(key, b"another content")
        return found

    monkeypatch.setattr(bucket, "head", look_before_somebody_writes)
    mirror.open()
    await mirror.round()
    assert results(bucket, SECOND) == ["t.1.7.json"]


async def test_copies_that_a_killed_dispatcher_left_are_removed(
    bucket: Bucket, pool: Pool, shelf: Shelf, blobs: MemoryBlobStore
) -> None:
    left = shelf.root / ".outputs-abc"
    left.mkdir()
    (left / "half").write_bytes(b"x")
    mirror_of(shelf, bucket, pool, blobs).open()
    assert not left.exists()
