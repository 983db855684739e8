"""The floor: threads of the standard library, dependencies kept by the caller."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..shapes import Dependencies
from .peer import NULL, drive


def null() -> None:
    pass


def spawn() -> None:
    os.waitpid(os.posix_spawn(NULL, [NULL], os.environ), 0)


class Threads:
    """``concurrent.futures``."""

    durable = "no"

    def start(self, workers: int, state: Path) -> None:
        self._pool = ThreadPoolExecutor(workers)

    def bag(self, n: int) -> None:
        for future in [self._pool.submit(null) for _ in range(n)]:
            future.result()

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        def submit(at: int, done: Callable[[int], None]) -> None:
            future = self._pool.submit(time.sleep, durations[at]) if durations[at] else self._pool.submit(null)
            future.add_done_callback(lambda _: done(at))

        drive(dependencies, submit)

    def processes(self, n: int) -> None:
        for future in [self._pool.submit(spawn) for _ in range(n)]:
            future.result()

    def stop(self) -> None:
        self._pool.shutdown()
