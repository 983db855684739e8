"""Folders that are spread over the disk stay what they are."""

from pathlib import Path

import pytest

import pto_blobs.placement
import pto_harness.placement


@pytest.mark.parametrize("placement", [pto_harness.placement, pto_blobs.placement])
def test_a_folder_that_is_spread_is_used_as_before(placement: object, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    before = folder.stat()
    placement.spread_below(folder)  # type: ignore[attr-defined]
    assert (folder.stat().st_mode, folder.stat().st_uid) == (before.st_mode, before.st_uid)
    (folder / "b").mkdir()
    (folder / "b" / "c").write_text("x")
    assert (folder / "b" / "c").read_text() == "x"


@pytest.mark.parametrize("placement", [pto_harness.placement, pto_blobs.placement])
def test_what_cannot_be_spread_is_left_alone(placement: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "nowhere", Path("/proc")):
        placement.spread_below(path)  # type: ignore[attr-defined]
