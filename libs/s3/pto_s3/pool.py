"""A few threads with a short queue: work is taken from its source only when a thread is nearly free.

Imports siblings. Invariant: ``each`` returns or raises only when nothing of its work is under way any more.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from pto_s3 import limits
from pto_s3.errors import S3Away

Item = TypeVar("Item")


class Pool:
    """Threads that ask S3; close it in the end."""

    def __init__(self, threads: int = limits.THREADS) -> None:
        self._window = threads * limits.QUEUED_PER_THREAD
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="s3")

    def each(self, work: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Do the work for all items. After the first that fails no other is begun; raises what has to be told first."""
        running: set[Future[None]] = set()
        failures: list[BaseException] = []
        for item in items:
            if len(running) >= self._window:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                failures += _failures(ended)
            if failures:
                break
            running.add(self.executor.submit(work, item))
        failures += _failures(wait(running).done)
        if failures:
            raise min(failures, key=lambda failure: isinstance(failure, S3Away))

    def close(self) -> None:
        """Wait for what is under way; nothing new is begun."""
        self.executor.shutdown(cancel_futures=True)


def _failures(ended: Iterable[Future[None]]) -> list[BaseException]:
    return [error for future in ended if (error := future.exception()) is not None]
