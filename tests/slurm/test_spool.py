"""The folder that dispatcher and nodes share: whole files, fences, claims, secrets."""

import os
import threading
from pathlib import Path

import pytest

from pto_slurm_node.spool import (
    Event,
    Fence,
    InsecureSecrets,
    Spool,
    claim_of,
    event_of,
    events_in,
    put_event,
    read_json,
    read_secrets,
    take_claim,
    write_secrets,
    write_whole,
)

NAME = "pto-" + "a" * 24


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    spool.prepare_run("run-1")
    spool.attempt("run-1", NAME).mkdir()
    return spool


def test_everything_is_its_owners_alone(spool):
    folders = [spool.root, *(path for path in spool.root.rglob("*") if path.is_dir() and path.name != NAME)]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}
    spool.root.chmod(0o755)
    spool.prepare()
    assert spool.root.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_replaced_is_never_seen_in_part(tmp_path):
    path, seen, done = tmp_path / "x", set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    write_whole(path, b"a" * 100_000)
    reader = threading.Thread(target=look)
    reader.start()
    for letter in (b"b", b"c", b"d") * 20:
        write_whole(path, letter * 100_000)
    done.set()
    reader.join()
    assert {len(data) for data in seen} == {100_000}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    with pytest.raises(OSError, match="x"):
        write_whole(tmp_path / "x", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_events_say_whose_they_are(spool):
    for restart, kind in ((1, "started"), (0, "result"), (0, "started")):
        put_event(spool.results, Fence(NAME, "744", restart), kind, {"host": "n1"})
    write_whole(spool.results / "notes.txt", b"")
    (spool.results / f".{NAME}.1.0.result.json.n1.2.3").touch()
    assert events_in(spool.results) == [
        Event(Fence(NAME, "744", 0), "started"),
        Event(Fence(NAME, "744", 0), "result"),
        Event(Fence(NAME, "744", 1), "started"),
    ]
    stored = read_json(spool.results / events_in(spool.results)[2].file_name)
    assert stored == {"name": NAME, "job": "744", "restart": 1, "kind": "started", "host": "n1"}


@pytest.mark.parametrize("name", [f"{NAME}.1.0.other.json", f"{NAME}.x.0.result.json", f"{NAME}.1.result.json", "x"])
def test_other_files_are_no_events(name):
    assert event_of(name) is None


def test_what_is_not_whole_is_not_there(tmp_path):
    assert read_json(tmp_path / "x") is None
    (tmp_path / "x").write_bytes(b'{"a"')
    assert read_json(tmp_path / "x") is None


def test_one_job_does_an_attempt(spool):
    attempt = spool.attempt("run-1", NAME)
    fences = [Fence(NAME, str(job)) for job in range(20)]
    won: list[Fence] = []
    barrier = threading.Barrier(len(fences))

    def race(fence: Fence) -> None:
        barrier.wait()
        if take_claim(attempt, fence):
            won.append(fence)

    threads = [threading.Thread(target=race, args=(fence,)) for fence in fences]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert claim_of(attempt) == won[0]


def test_a_job_that_slurm_started_again_takes_over_from_itself_only(spool):
    attempt = spool.attempt("run-1", NAME)
    assert claim_of(attempt) is None
    assert take_claim(attempt, Fence(NAME, "7", 0))
    assert take_claim(attempt, Fence(NAME, "7", 1))
    assert not take_claim(attempt, Fence(NAME, "7", 0)), "the copy that SLURM gave up on"
    assert not take_claim(attempt, Fence(NAME, "8", 2))
    assert claim_of(attempt) == Fence(NAME, "7", 1)


def test_secrets(spool):
    path = spool.run("run-1") / "secrets.json"
    given = {"TOKEN": "s3cret", "BYTES": os.fsdecode(b"no \xff text"), "TEXT": "schön 🎉"}
    write_secrets(path, given)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_secrets(path) == given
    path.chmod(0o640)
    with pytest.raises(InsecureSecrets, match="read by others"):
        read_secrets(path)
    path.unlink()
    with pytest.raises(InsecureSecrets, match="cannot be opened"):
        read_secrets(path)


def test_secrets_behind_a_link_are_not_read(spool, tmp_path):
    write_secrets(tmp_path / "elsewhere" / "s.json", {"TOKEN": "s3cret"})
    (spool.run("run-1") / "secrets.json").symlink_to(tmp_path / "elsewhere" / "s.json")
    with pytest.raises(InsecureSecrets):
        read_secrets(spool.run("run-1") / "secrets.json")
