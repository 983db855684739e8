"""A small process that outlives a dispatcher killed with SIGKILL and ends the tasks it left behind.

Standard library only; run as a program with the mark and a table of process groups (a descriptor) as its arguments.
Invariant: it acts only when its owner says that it ends or the pipe from it closes, which the kernel does however the
owner ends, and it kills only the owner's groups and processes with its mark. A signal on the parent's death would not
do: it reaches the shell alone, and is bound to the thread that started it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pto_harness.limits import GUARD_PASSES, GUARD_PAUSE_S, GUARDED_GROUPS
from pto_harness.program import own_program
from pto_harness.strays import kill_strays

_IN_ORDER = b"end"
"""The owner has started nothing that has not ended: one look is enough, nobody is between fork and exec."""
SLOT_BYTES = 4
"""A process group in the table: a C int, 0 where there is none."""


class Guard:
    """The owner's side: starts the guard process, ends it with ``close``. Its methods may be called from any thread."""

    def __init__(self, marker: str) -> None:
        # Shared memory, because telling the guard must cost nothing: it reads it once, when its owner is gone.
        table = os.memfd_create("pto-guard")
        try:
            os.ftruncate(table, GUARDED_GROUPS * SLOT_BYTES)
            self._groups = memoryview(mmap.mmap(table, GUARDED_GROUPS * SLOT_BYTES)).cast("i")
            self._process = subprocess.Popen(
                [*own_program("guard"), marker, str(table)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                env={},
                pass_fds=(table,),
            )
        finally:
            os.close(table)
        self._slots: dict[int, int] = {}
        self._fresh = iter(range(GUARDED_GROUPS))
        self._free: list[int] = []

    def add(self, group: int) -> None:
        """This process group must not outlive the owner, whatever its processes do to their environment."""
        try:
            slot = self._free.pop()
        except IndexError:
            slot = next(self._fresh)
        self._slots[group] = slot
        self._groups[slot] = group

    def remove(self, group: int) -> None:
        """This group has ended; call it before its leader is reaped, while nobody else can have its number."""
        slot = self._slots.pop(group)
        self._groups[slot] = 0
        self._free.append(slot)

    def close(self) -> None:
        """End the guard, when all commands have ended; it looks once more for what is left."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(_IN_ORDER)


def watch(marker: str, table: int) -> None:
    """Wait for the end of the owner, then end its groups and everything that has its mark."""
    is_in_order = sys.stdin.buffer.read() == _IN_ORDER
    groups = [group for group in memoryview(os.pread(table, os.fstat(table).st_size, 0)).cast("i") if group]
    if is_in_order and not groups:
        kill_strays(marker)
        return
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    quiet = 0
    for _ in range(GUARD_PASSES):
        quiet = quiet + 1 if kill_strays(marker) == 0 else 0
        if quiet > 1:
            return
        time.sleep(GUARD_PAUSE_S)


def main() -> None:
    """As a program."""
    watch(sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    main()
