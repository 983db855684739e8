"""Folders that no run needs are found and removed; others stay."""

import os
import time
from pathlib import Path

import pytest

from pto_cli.registry import sweep_removed


def test_a_store_whose_start_was_killed_before_its_note_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    runs = tmp_path / "parallel-orchestrator" / "runs"
    for name in ("old-unborn", "new-unborn", "old-with-note"):
        (runs / name / "store").mkdir(parents=True)
    (runs / "old-with-note" / "run.json").write_text("{}")
    long_ago = time.time() - 7_200
    for name in ("old-unborn", "old-with-note"):
        os.utime(runs / name, (long_ago, long_ago))
    sweep_removed()
    assert sorted(path.name for path in runs.iterdir()) == ["new-unborn", "old-with-note"]
