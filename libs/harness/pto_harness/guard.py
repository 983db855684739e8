"""A small process that outlives a dispatcher killed with SIGKILL and ends the tasks it left behind.

Standard library only; run as a program with the mark as its argument. Invariant: it acts only when its owner says that
it ends or the pipe from it closes, which the kernel does however the owner ends, and it kills only processes with the
owner's mark. A signal on the parent's death would not do: it reaches the shell alone, and is bound to the thread that
started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pto_harness.limits import GUARD_PASSES, GUARD_PAUSE_S
from pto_harness.strays import kill_strays

_IN_ORDER = b"end\n"
"""The owner has started nothing that has not ended: one look is enough, nobody is between fork and exec."""


class Guard:
    """The owner's side: starts the guard process, ends it with ``close``."""

    def __init__(self, marker: str) -> None:
        # -I -S: nothing of the user's Python set-up is needed, and the start takes a third of the time.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, marker],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            env={},
        )

    def add(self, group: int) -> None:
        """This process group must not outlive the owner, whatever its processes do to their environment."""
        self._tell(b"+%d\n" % group)

    def remove(self, group: int) -> None:
        """This group has ended; call it before its leader is reaped, while nobody else can have its number."""
        self._tell(b"-%d\n" % group)

    def _tell(self, line: bytes) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                os.write(self._process.stdin.fileno(), line)

    def close(self) -> None:
        """End the guard, when all commands have ended; it looks once more for what is left."""
        self._tell(_IN_ORDER)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def watch(marker: str) -> None:
    """Wait for the end of the owner, then end its groups and everything that has its mark."""
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        if line == _IN_ORDER:
            if not groups:
                kill_strays(marker)
                return
        elif line.startswith(b"+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    quiet = 0
    for _ in range(GUARD_PASSES):
        quiet = quiet + 1 if kill_strays(marker) == 0 else 0
        if quiet > 1:
            return
        time.sleep(GUARD_PAUSE_S)


if __name__ == "__main__":
    watch(sys.argv[1])
