"""A process that is stopped for a while, and what its clock of time limits makes of that."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pto_harness.stopwatch import Stopwatch

STOPPED_S = 1.2
PROGRAM = """
import sys, time
from pto_harness.stopwatch import Stopwatch
watch = Stopwatch(tick_s=0.05, stopped_s=0.5)
if sys.argv[1] == "start":
    watch.start()
began, awake = time.monotonic(), watch.now_s()
print("begun", flush=True)
sys.stdin.readline()
print(time.monotonic() - began - (watch.now_s() - awake))
"""


@pytest.mark.parametrize("start", ["start", "leave"])
def test_time_in_which_the_process_was_stopped_does_not_count_once_it_ticks(start: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    time.sleep(STOPPED_S)
    process.send_signal(signal.SIGCONT)
    left_out_s = float(process.communicate("\n")[0])
    if start == "start":
        assert left_out_s > STOPPED_S / 2
    else:
        assert left_out_s < STOPPED_S / 2


def test_it_never_goes_back() -> None:
    watch = Stopwatch(tick_s=0.001, stopped_s=0.002)  # so that each late tick is left out
    watch.start()
    seen = [watch.now_s() for _ in range(20_000)]
    assert seen == sorted(seen)
