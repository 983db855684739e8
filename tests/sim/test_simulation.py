"""A slice of the seeds that ``make sim`` runs; each failure says how to replay it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def sim(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m tests.sim`` in a process of its own, because a seed means the same only under one hash seed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_sixty_seeds_keep_every_promise() -> None:
    done = sim("--seeds", "0:60")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_six_hundred_more_seeds_keep_every_promise() -> None:
    done = sim("--seeds", "60:660", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_means_the_same_every_time() -> None:
    first, second = (sim("--seed", "3").stdout for _ in range(2))
    assert first
    assert first == second
