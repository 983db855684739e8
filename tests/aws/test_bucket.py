"""One bucket: exactly one winner, one writer, everything checked; and through a proxy that makes trouble."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pto_s3 import Bucket, NoSuchBucket, ObjectDamaged, ObjectMissing, OtherContent, OtherWriter, S3Away, S3Denied

from .proxy import Fault, Proxy

KEY = "parallel-orchestrator/run-000001/results/a.1.7.0.json"


def test_the_first_write_stays(bucket: Bucket) -> None:
    assert bucket.put_once(KEY, b"first")
    assert not bucket.put_once(KEY, b"first")
    with pytest.raises(OtherContent, match=KEY):
        bucket.put_once(KEY, b"second")
    assert bucket.get(KEY) == b"first"


def test_of_many_writers_exactly_one_wins(bucket: Bucket) -> None:
    def write(content: bytes) -> bool:
        try:
            return bucket.put_once(KEY, content)
        except OtherContent:
            return False

    contents = [f"writer {n}".encode() for n in range(16)]
    with ThreadPoolExecutor(8) as executor:
        won = list(executor.map(write, contents))
    assert won.count(True) == 1
    assert bucket.get(KEY) == contents[won.index(True)]


def test_state_has_one_writer(bucket: Bucket) -> None:
    first = bucket.replace(KEY, b"1", "")
    second = bucket.replace(KEY, b"2", first)
    with pytest.raises(OtherWriter):
        bucket.replace(KEY, b"other", first)
    with pytest.raises(OtherWriter):
        bucket.replace(KEY, b"other", "")
    assert bucket.replace(KEY, b"3", second) not in (first, second)
    assert bucket.get(KEY) == b"3"


def test_what_is_not_there_is_said_to_be_missing(bucket: Bucket, tmp_path: Path) -> None:
    assert bucket.head(KEY) is None
    with pytest.raises(ObjectMissing, match=KEY):
        bucket.get(KEY)
    with pytest.raises(ObjectMissing):
        bucket.get_file(KEY, tmp_path / "file")
    assert not list(tmp_path.iterdir())
    bucket.delete(KEY)


def test_damage_is_noticed(bucket: Bucket, tmp_path: Path) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=b"rotten", Metadata={"sha256": "0" * 64})
    with pytest.raises(ObjectDamaged):
        bucket.get(KEY)
    with pytest.raises(ObjectDamaged):
        bucket.get_file(KEY, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_objects_that_others_wrote_are_compared_by_reading_them(bucket: Bucket) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=b"by hand")
    assert not bucket.put_once(KEY, b"by hand")
    with pytest.raises(OtherContent):
        bucket.put_once(KEY, b"not by hand")


def test_a_listing_can_begin_behind_a_key(bucket: Bucket) -> None:
    for n in range(5):
        bucket.put_once(f"p/{n}", b"x")
    bucket.put_once("q/0", b"x")
    assert [stored.key for stored in bucket.list("p/", after="p/2")] == ["p/3", "p/4"]


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    other = Bucket(bucket.client, "pto-nowhere")
    with pytest.raises(NoSuchBucket, match="pto-nowhere"):
        other.put_once(KEY, b"")


def test_refusal_names_action_and_place(shaky: Bucket, proxy: Proxy) -> None:
    proxy.faults.append(Fault("denied", "PUT"))
    with pytest.raises(S3Denied, match=rf"s3:PutObject on s3://{shaky.name}/{KEY}"):
        shaky.put_once(KEY, b"data")
    assert shaky.put_once(KEY, b"data")


@pytest.mark.parametrize("kind", ["slow-down", "away", "cut"])
def test_short_trouble_is_not_noticed(shaky: Bucket, proxy: Proxy, kind: str) -> None:
    proxy.faults.append(Fault(kind, "PUT", times=2))
    assert shaky.put_once(KEY, b"data")
    assert proxy.hit == {kind: 2}


def test_longer_trouble_is_said_to_pass(shaky: Bucket, proxy: Proxy) -> None:
    proxy.faults.append(Fault("slow-down", times=100))
    with pytest.raises(S3Away, match="SlowDown"):
        shaky.get(KEY)
    proxy.faults[:] = [Fault("away", times=100)]
    with pytest.raises(S3Away, match="got no answer"):
        shaky.head(KEY)


def test_an_answer_lost_after_the_write_is_settled_by_looking(shaky: Bucket, proxy: Proxy) -> None:
    proxy.faults.append(Fault("lost-answer", "PUT"))
    shaky.put_once(KEY, b"data")
    assert shaky.get(KEY) == b"data"
    proxy.faults.append(Fault("lost-answer", "PUT"))
    etag = shaky.replace("state", b"1", "")
    proxy.faults.append(Fault("lost-answer", "PUT"))
    assert shaky.replace("state", b"2", etag) != etag
    assert proxy.hit["lost-answer"] == 3


def test_an_answer_lost_for_good_is_settled_by_looking(shaky: Bucket, proxy: Proxy) -> None:
    """The write arrives, and then nothing answers writes any more."""
    etag = shaky.replace("state", b"1", "")
    proxy.faults += [Fault("lost-answer", "PUT"), Fault("away", "PUT", times=100)]
    assert shaky.replace("state", b"2", etag) != etag
    assert shaky.get("state") == b"2"


def test_a_body_cut_on_its_way_down_leaves_no_file(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_once(KEY, b"x" * 100_000)
    bucket.get_file(KEY, tmp_path / "there", over=False)
    (tmp_path / "there").write_bytes(b"newer")
    bucket.get_file(KEY, tmp_path / "there", over=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("there", b"newer")]


def test_what_somebody_deleted_is_written_again(bucket: Bucket) -> None:
    known = bucket.replace(KEY, b"1", "")
    bucket.delete(KEY)
    known = bucket.replace(KEY, b"2", known)
    assert bucket.get(KEY) == b"2"
    assert bucket.replace(KEY, b"3", known)
