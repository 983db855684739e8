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
    """Whether the folder takes more room on the disk, or has more entries, folders among them.

    ``with_holes``: files count by their length, which is what a copy of them takes. What cannot be looked at, because
    it lies too deep or is closed, could hold anything: that is more, too.
    """
    size = count = 0
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        size += max(status.st_blocks * 512, status.st_size if with_holes else 0)
                    if size > most_bytes or count > most_files:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
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
