"""A run's folders and its prefix: the same in the end, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pto_proto.ids import RunId
from pto_s3 import Area, Bucket, OtherWriter, Pool, RunSync, S3Away, S3Denied, SyncReport, run_prefix
from pto_s3 import limits as bounds

from .buckets import REGION
from .proxy import Fault, Proxy

RUN = RunId("run-000001")
Sync = Callable[[Bucket], RunSync]


@pytest.fixture
def folders(tmp_path: Path) -> dict[Area, Path]:
    made = {area: tmp_path / area for area in Area}
    for folder in made.values():
        folder.mkdir()
    return made


@pytest.fixture
def sync(folders: dict[Area, Path], pool: Pool) -> Sync:
    return lambda bucket: RunSync(bucket, RUN, folders, pool)


def fill(folders: dict[Area, Path], results: int) -> None:
    (folders[Area.STATE] / "jobs.json").write_text('{"1": "a"}')
    (folders[Area.TASKS] / "a.json").write_text("{}")
    for n in range(results):
        (folders[Area.RESULTS] / f"t{n}.1.{n}.0.json").write_text(json.dumps({"task": n}))


def here(folders: dict[Area, Path]) -> dict[str, bytes]:
    return {f"{area}/{path.name}": path.read_bytes() for area, folder in folders.items() for path in folder.iterdir()}


def there(bucket: Bucket) -> dict[str, bytes]:
    return {s.key.removeprefix(run_prefix(RUN)): bucket.get(s.key) for s in bucket.list(run_prefix(RUN))}


def test_everything_goes_up_and_then_nothing(bucket: Bucket, folders: dict[Area, Path], sync: Sync) -> None:
    fill(folders, 20)
    syncing = sync(bucket)
    report = syncing.round()
    assert (report.uploaded, report.replaced, report.downloaded) == (21, 1, 0)
    assert there(bucket) == here(folders)
    report = syncing.round()
    assert (report.uploaded, report.replaced, report.downloaded) == (0, 0, 0)


def test_a_second_look_after_a_restart_writes_nothing(
    shaky: Bucket, proxy: Proxy, folders: dict[Area, Path], sync: Sync
) -> None:
    fill(folders, 20)
    sync(shaky).round()
    written = proxy.seen["PUT"]
    assert sync(shaky).round().uploaded == 21
    assert proxy.seen["PUT"] == written


def test_a_new_head_node_gets_everything_back(
    bucket: Bucket, folders: dict[Area, Path], sync: Sync, tmp_path: Path, pool: Pool
) -> None:
    fill(folders, 20)
    sync(bucket).round()
    others = {area: tmp_path / "other" / area for area in Area}
    assert RunSync(bucket, RUN, others, pool).round().downloaded == 22
    assert here(others) == here(folders)


def test_results_that_others_put_up_come_down(bucket: Bucket, folders: dict[Area, Path], sync: Sync) -> None:
    syncing = sync(bucket)
    syncing.round()
    bucket.put_once(run_prefix(RUN, Area.RESULTS) + "b.1.2.0.json", b"{}")
    assert syncing.round(look=False).downloaded == 0
    assert syncing.round().downloaded == 1
    assert (folders[Area.RESULTS] / "b.1.2.0.json").read_bytes() == b"{}"


def test_what_is_offered_goes_up_without_a_look(bucket: Bucket, folders: dict[Area, Path], sync: Sync) -> None:
    syncing = sync(bucket)
    fill(folders, 2)
    syncing.offer(Area.RESULTS, "t0.1.0.0.json")
    syncing.offer(Area.RESULTS, "not there")
    report = syncing.round(look=False)
    assert (report.uploaded, report.replaced) == (1, 1)
    assert set(there(bucket)) == {"results/t0.1.0.0.json", "state/jobs.json"}
    assert syncing.round(look=False).uploaded == 0
    assert syncing.round().uploaded == 2


@pytest.mark.parametrize("is_known", [False, True], ids=["not listed", "listed"])
def test_a_result_that_came_second_is_told_and_changes_nothing(
    bucket: Bucket, folders: dict[Area, Path], sync: Sync, is_known: bool
) -> None:
    bucket.put_once(run_prefix(RUN, Area.RESULTS) + "t0.1.0.0.json", b"the first")
    fill(folders, 1)
    syncing = sync(bucket)
    assert settle(syncing, is_known).lost == ["t0.1.0.0.json"]
    assert syncing.round().lost == []
    assert there(bucket)["results/t0.1.0.0.json"] == b"the first"
    assert json.loads((folders[Area.RESULTS] / "t0.1.0.0.json").read_bytes()) == {"task": 0}


def test_state_follows_its_file_until_another_writer_comes(
    bucket: Bucket, folders: dict[Area, Path], sync: Sync, tmp_path: Path, pool: Pool
) -> None:
    fill(folders, 0)
    first = sync(bucket)
    first.round()
    write(folders[Area.STATE] / "jobs.json", "2")
    assert first.round().replaced == 1
    others = {area: tmp_path / "other" / area for area in Area}
    second = RunSync(bucket, RUN, others, pool)
    second.round()
    write(others[Area.STATE] / "jobs.json", "3")
    second.round()
    write(folders[Area.STATE] / "jobs.json", "4")
    with pytest.raises(OtherWriter):
        first.round()
    assert there(bucket)["state/jobs.json"] == b"3"


def test_two_rounds_at_once_are_one_after_the_other(
    bucket: Bucket, folders: dict[Area, Path], sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dispatcher that ends gives up waiting for a round, but not the round; then it begins another."""
    fill(folders, 0)
    syncing = sync(bucket)
    syncing.round()
    write(folders[Area.STATE] / "jobs.json", "2")
    is_under_way, may_go_on, replace = threading.Event(), threading.Event(), bucket.replace

    def slowly(key: str, data: bytes, known: str) -> str:
        is_under_way.set()
        may_go_on.wait(0.5 if data == b"2" else 0)
        return replace(key, data, known)

    monkeypatch.setattr(bucket, "replace", slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(syncing.round, look=False)
        assert is_under_way.wait(10)
        write(folders[Area.STATE] / "jobs.json", "3")
        second = threads.submit(syncing.round, look=False)
        assert (first.result(30).replaced, second.result(30).replaced) == (1, 1)
    assert there(bucket)["state/jobs.json"] == b"3"


def test_what_a_killed_download_left_is_removed(bucket: Bucket, folders: dict[Area, Path], sync: Sync) -> None:
    (folders[Area.RESULTS] / ".s3-abc.tmp").write_text("{")
    sync(bucket).round()
    assert here(folders) == {}


def test_unfinished_files_stay_here(bucket: Bucket, folders: dict[Area, Path], sync: Sync) -> None:
    (folders[Area.RESULTS] / ".a.json.x1.tmp").write_text("{")
    (folders[Area.RESULTS] / "link").symlink_to("/etc/passwd")
    sync(bucket).round()
    assert there(bucket) == {}


TROUBLE = [
    Fault("denied", "PUT", "results/", times=2),
    Fault("slow-down", "PUT", times=40),
    Fault("slow-down", "GET", times=6),
    Fault("away", times=20),
    Fault("lost-answer", "PUT", times=20),
    Fault("lost-answer", "POST", times=2),
    Fault("cut", "PUT", "big", times=6),
]


@pytest.mark.slow
def test_through_all_trouble_nothing_is_lost_or_doubled(
    shaky: Bucket, proxy: Proxy, bucket: Bucket, folders: dict[Area, Path], sync: Sync
) -> None:
    fill(folders, 60)
    (folders[Area.RESULTS] / "big.1.1.0.tar").write_bytes(os.urandom(1000) * (bounds.PART_BYTES * 2 // 1000 + 7))
    proxy.faults += TROUBLE
    syncing, rounds, errors = sync(shaky), 0, set()
    while any(fault.times for fault in proxy.faults) or not is_done(syncing):
        rounds += 1
        assert rounds < 200
        try:
            syncing.round()
        except (S3Away, S3Denied) as error:
            errors.add(type(error))
    assert errors == {S3Away, S3Denied}
    assert set(proxy.hit) == {fault.kind for fault in TROUBLE}
    assert there(bucket) == here(folders)


def is_done(syncing: RunSync) -> bool:
    try:
        report = syncing.round()
    except (S3Away, S3Denied):
        return False
    return not (report.uploaded or report.downloaded or report.replaced or report.lost)


SYNC_ONCE = """
import sys
from pathlib import Path
from pto_proto.ids import RunId
from pto_s3 import Area, Pool, RunSync, open_bucket
url, bucket, region, folder = sys.argv[1:]
pool = Pool()
print("syncing", flush=True)
RunSync(open_bucket(bucket, region, endpoint_url=url), RunId("run-000001"), {a: Path(folder, a) for a in Area}, pool).round()
pool.close()
"""


@pytest.mark.slow
def test_killed_twenty_times_it_ends_the_same(
    bucket: Bucket, moto: str, folders: dict[Area, Path], tmp_path: Path
) -> None:
    fill(folders, 400)
    (folders[Area.RESULTS] / "big.1.1.0.tar").write_bytes(os.urandom(1000) * (bounds.PART_BYTES * 3 // 1000))
    bucket.put_once(run_prefix(RUN, Area.RESULTS) + "elsewhere.1.1.0.json", b"{}")
    command = [sys.executable, "-c", SYNC_ONCE, moto, bucket.name, REGION, str(tmp_path)]
    progress = []
    for n in range(100):
        if n >= 20 and progress[0] < progress[-1]:
            break
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02 + 0.02 * n)
            process.send_signal(signal.SIGKILL)
        progress.append(len(list(bucket.list(run_prefix(RUN)))))
    assert progress[0] < progress[-1]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert len(here(folders)) == 404
    assert there(bucket) == here(folders)


def settle(syncing: RunSync, is_known: bool) -> SyncReport:
    syncing.offer(Area.RESULTS, "t0.1.0.0.json")
    return syncing.round(look=is_known)


def write(path: Path, text: str) -> None:
    fresh = path.with_name(".fresh.tmp")
    fresh.write_text(text)
    fresh.replace(path)
