"""How much a folder holds, and what hides in it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pto_harness.removal import remove_folder
from pto_harness.room import holds_more
from pto_harness.workspace import Workspace


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Folders in folders, further down than any path can name, with a megabyte at the bottom."""
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("down", dir_fd=at)
        below = os.open("down", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    file = os.open("big", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.write(file, bytes(2**20))
    os.close(file)
    os.close(at)
    yield tmp_path
    subprocess.run(["rm", "-rf", "--", tmp_path / "down"], check=True)  # pytest's own removal cannot


def test_folders_count_as_entries(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").mkdir()
    assert holds_more(str(tmp_path), 2**30, 19)
    assert not holds_more(str(tmp_path), 2**30, 20)


def test_bytes_count_by_room_or_by_length(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    assert not holds_more(str(tmp_path), 2**20)
    assert holds_more(str(tmp_path), 2**20, with_holes=True)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path)
    assert not holds_more(str(tmp_path), 2**20)


def test_what_lies_too_deep_to_be_looked_at_is_too_much(deep: Path) -> None:
    assert holds_more(str(deep), 2**30)


def test_what_lies_too_deep_is_no_output_and_no_fault(deep: Path) -> None:
    (deep / "a.txt").touch()
    assert Workspace(deep).changed() == ["a.txt"]


def test_what_lies_too_deep_is_removed(deep: Path) -> None:
    remove_folder(deep / "down")
    assert not list(deep.iterdir())


def test_nothing_is_removed_without_a_word(tmp_path: Path) -> None:
    remove_folder(tmp_path / "none")
