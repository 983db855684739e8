"""Files for one container alone: who may read them, and when they are gone."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from pto_dispatcher_docker.private import OwnerTaken, PrivateFiles

OWN = (os.getuid(), os.getgid())


def test_only_the_containers_user_can_read_them(tmp_path: Path) -> None:
    files = PrivateFiles("d-1.x", OWN, tmp_path)
    folder = files.put("pto-1", "credentials.json", "secret")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "credentials.json").stat().st_mode) == 0o400
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert (folder / "credentials.json").stat().st_uid == OWN[0]
    files.put("pto-1", "credentials.json", "newer")
    assert (folder / "credentials.json").read_text() == "newer"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_root_gives_them_to_the_containers_user(tmp_path: Path) -> None:
    folder = PrivateFiles("d-1.x", (4321, 4321), tmp_path).put("pto-1", "credentials.json", "secret")
    assert (folder.stat().st_uid, (folder / "credentials.json").stat().st_uid) == (4321, 4321)


def test_they_go_with_the_attempt_or_with_the_next_sweep(tmp_path: Path) -> None:
    files = PrivateFiles("d-1.x", OWN, tmp_path)
    kept, dropped, left = (files.put(name, "f", "x") for name in ("pto-1", "pto-2", "pto-3"))
    files.drop("pto-2")
    assert not dropped.exists()
    PrivateFiles("d-1.x", OWN, tmp_path).sweep(lambda name: name == "pto-1")
    assert kept.exists()
    assert not left.exists()


def test_what_is_put_there_need_not_be_text(tmp_path: Path) -> None:
    folder = PrivateFiles("d-1.x", OWN, tmp_path).put("pto-1", "f", os.fsdecode(b"caf\xe9"))
    assert (folder / "f").read_bytes() == b"caf\xe9"


def test_in_the_end_nothing_is_left_of_them(tmp_path: Path) -> None:
    files = PrivateFiles("d-1.x", OWN, tmp_path)
    files.put("pto-1", "f", "x")
    files.remove_all()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_others_may_use_is_refused(tmp_path: Path) -> None:
    files = PrivateFiles("d-1.x", OWN, tmp_path)
    above = files.put("pto-1", "f", "x").parent
    above.chmod(0o755)
    with pytest.raises(PermissionError):
        files.put("pto-2", "f", "x")


def test_two_dispatchers_do_not_sweep_each_other(tmp_path: Path) -> None:
    other = PrivateFiles("d-2.x", OWN, tmp_path).put("pto-1", "f", "x")
    PrivateFiles("d-1.x", OWN, tmp_path).sweep(lambda name: False)
    assert other.exists()


def test_one_process_at_a_time_owns_the_containers_of_a_folder(tmp_path: Path) -> None:
    first, second = PrivateFiles("d-1.x", OWN, tmp_path), PrivateFiles("d-1.x", OWN, tmp_path)
    first.hold()
    PrivateFiles("d-2.x", OWN, tmp_path).hold()
    with pytest.raises(OwnerTaken, match="PTO_WORK_DIR"):
        second.hold()
    first.release()
    second.hold()
    second.release()
    assert len(list(tmp_path.iterdir())) == 1, "an empty folder is not left"


def test_who_lets_go_takes_nobody_elses_hold_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (PrivateFiles("d-1.x", OWN, tmp_path) for _ in range(3))
    first.hold()
    lock = fcntl.flock

    def let_go_just_before(descriptor: int, operation: int) -> None:
        first.release()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", let_go_just_before)
    second.hold()
    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(OwnerTaken, match="PTO_WORK_DIR"):
        third.hold()
    second.remove_all()
    third.hold()
    second.release()
    with pytest.raises(OwnerTaken, match="PTO_WORK_DIR"):
        first.hold()
    third.release()
    assert not list(tmp_path.iterdir())
