"""Big files: in parts, checked, and after a cut from where it was."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pto_s3 import Bucket, OtherContent, Pool, S3Away
from pto_s3 import limits as bounds
from pto_s3.upload import Told, is_there, measure, part_size, put_file_once

from .proxy import Fault, Proxy

KEY = "parallel-orchestrator/run-000001/results/big.tar"
SIZE = 4 * bounds.PART_BYTES + 12345


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20) + b"tail")
    return path


def test_parts_are_never_too_many() -> None:
    for size in (1, bounds.PART_BYTES, 10**9, 10**11, 5 * 10**12):
        assert -(-size // part_size(size)) <= bounds.MAX_PARTS
        assert part_size(size) >= bounds.PART_BYTES


def test_a_part_is_skipped_only_if_its_bytes_are_there(big: Path) -> None:
    part = measure(big)[0][0]
    assert is_there(part, Told("other", part.sha256))
    assert is_there(part, Told(f'"{part.md5}"'))
    assert not is_there(part, Told(f'"{part.md5}"', "other"))
    assert not is_there(part, Told('"other"'))
    assert not is_there(part, None)


def test_a_big_file_goes_up_once(bucket: Bucket, pool: Pool, big: Path, tmp_path: Path) -> None:
    assert put_file_once(bucket, KEY, big, pool)
    assert not put_file_once(bucket, KEY, big, pool)
    bucket.get_file(KEY, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    big.write_bytes(big.read_bytes()[::-1])
    with pytest.raises(OtherContent):
        put_file_once(bucket, KEY, big, pool)
    assert unfinished(bucket) == []


def test_after_a_cut_only_missing_parts_go_up(shaky: Bucket, proxy: Proxy, pool: Pool, big: Path) -> None:
    proxy.faults.append(Fault("cut", "PUT", "partNumber=4", times=100))
    with pytest.raises(S3Away):
        put_file_once(shaky, KEY, big, pool)
    assert shaky.head(KEY) is None
    proxy.faults.clear()
    there, sent = parts_there(shaky), proxy.seen["PUT"]
    assert 0 < there < 5
    assert put_file_once(shaky, KEY, big, pool)
    assert proxy.seen["PUT"] - sent == len(measure(big)[0]) - there
    assert unfinished(shaky) == []


@pytest.mark.parametrize("change", [lambda data: data[::-1], lambda data: data[:-1] + b"!"], ids=["all", "the end"])
def test_a_file_that_changed_since_the_cut_is_not_mixed(
    shaky: Bucket, proxy: Proxy, pool: Pool, big: Path, change: Callable[[bytes], bytes]
) -> None:
    proxy.faults.append(Fault("away", "PUT", "partNumber=5", times=100))
    with pytest.raises(S3Away):
        put_file_once(shaky, KEY, big, pool)
    proxy.faults.clear()
    data = big.read_bytes()
    big.write_bytes(change(data))
    assert put_file_once(shaky, KEY, big, pool)
    assert shaky.digest_of(KEY) == measure(big)[1]
    shaky.get_file(KEY, big.with_name("back"))
    assert big.with_name("back").read_bytes() == change(data)
    assert unfinished(shaky) == []


def test_a_lost_answer_to_the_completion_is_settled_by_looking(
    shaky: Bucket, proxy: Proxy, pool: Pool, big: Path
) -> None:
    proxy.faults.append(Fault("lost-answer", "POST", "uploadId="))
    put_file_once(shaky, KEY, big, pool)
    assert proxy.hit == {"lost-answer": 1}
    assert shaky.digest_of(KEY) == measure(big)[1]


def test_a_lost_answer_to_the_beginning_leaves_nothing_behind(
    shaky: Bucket, proxy: Proxy, pool: Pool, big: Path
) -> None:
    proxy.faults += [Fault("lost-answer", "POST", "uploads"), Fault("away", "POST", "uploads", times=100)]
    with pytest.raises(S3Away):
        put_file_once(shaky, KEY, big, pool)
    proxy.faults.clear()
    assert len(unfinished(shaky)) == 1
    assert put_file_once(shaky, KEY, big, pool)
    assert unfinished(shaky) == []


def unfinished(bucket: Bucket) -> list[str]:
    answer = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    return [upload["UploadId"] for upload in answer.get("Uploads", ())]


def parts_there(bucket: Bucket) -> int:
    [upload] = unfinished(bucket)
    return len(bucket.client.list_parts(Bucket=bucket.name, Key=KEY, UploadId=upload).get("Parts", ()))


def test_who_comes_second_leaves_no_parts_behind(bucket: Bucket, pool: Pool, big: Path) -> None:
    def somebody_is_faster(*_: object, **__: object) -> None:
        if bucket.head(KEY) is None:
            bucket.put_once(KEY, b"another content")

    bucket.client.meta.events.register("before-call.s3.CompleteMultipartUpload", somebody_is_faster)
    with pytest.raises(OtherContent):
        put_file_once(bucket, KEY, big, pool)
    assert unfinished(bucket) == []
