"""The guard at an orderly end of its owner: it looks once more, and leaves nothing."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from pto_harness.guard import Guard

MARK = "PTO_OWNER=test-guard"


@pytest.fixture
def left_over() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def sleeper(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env={"PATH": os.defpath, **environment}, start_new_session=True)


def test_what_left_its_group_ends_with_the_guard(left_over: list[subprocess.Popen[bytes]]) -> None:
    guard = Guard(MARK)
    name, _, value = MARK.partition("=")
    left_over += [sleeper({name: value}), sleeper({})]
    guard.close()
    assert left_over[0].wait(10) == -signal.SIGKILL
    assert left_over[1].poll() is None, "a process without the mark is nobody's business"


def test_a_group_that_was_not_taken_back_ends_too(left_over: list[subprocess.Popen[bytes]]) -> None:
    guard = Guard(MARK)
    left_over += [sleeper({}), sleeper({})]
    for process in left_over:
        guard.add(process.pid)
    guard.remove(left_over[1].pid)
    guard.close()
    assert left_over[0].wait(10) == -signal.SIGKILL
    assert left_over[1].poll() is None
