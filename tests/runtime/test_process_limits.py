"""Limits and signals that a process of ours does not take over from whoever started it."""

import subprocess
import sys

PROGRAM = """
import resource, signal, subprocess
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from pto_runtime.process_limits import widen_limits
widen_limits()
print(resource.getrlimit(resource.RLIMIT_NOFILE), subprocess.run(["false"]).returncode)
"""


def test_a_low_soft_limit_and_ignored_children_are_put_right() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(4096, 4096) 1"
