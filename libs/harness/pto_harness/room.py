"""How much a folder holds, and a watch that ends a command whose folder outgrows its limit.

Imports the standard library only. Invariant: looking costs no more than the limit allows to be there; what disappears
meanwhile is no fault.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from pto_harness.cancel import Cancel
from pto_harness.limits import LOOK_S, MAX_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator


def holds_more(folder: str, most_bytes: int, most_files: int = MAX_FILES * 2, *, with_holes: bool = False) -> bool:
    """Whether the folder takes more room on the disk, or has more entries.

    ``with_holes``: files count by their length, which is what a copy of them takes.
    """
    size = count = 0
    for below, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{below}/{name}")
                size += max(status.st_blocks * 512, status.st_size if with_holes else 0)
            count += 1
            if size > most_bytes or count > most_files:
                return True
    return False


@contextlib.contextmanager
def watched(folder: str, most_bytes: int, outer: Cancel) -> Iterator[Cancel]:
    """A cancel for one command: requested with ``outer``, or when the folder holds too much."""
    inner, over = Cancel(), threading.Event()

    def passed_on() -> None:
        inner.request(outer.reason)

    def watch() -> None:
        while not over.wait(LOOK_S):
            if holds_more(folder, most_bytes):
                inner.request(f"its workspace holds more than {most_bytes // 2**20} MiB or too many files")
                return

    watcher = threading.Thread(target=watch, name="room", daemon=True)
    outer.listen(passed_on)
    watcher.start()
    try:
        yield inner
    finally:
        over.set()
        outer.unlisten(passed_on)
        watcher.join()
