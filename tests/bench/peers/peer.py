"""What a system under comparison must be able to do. Standard library only."""

import queue
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ..shapes import Dependencies, followers

NULL = "/bin/true"


class Peer(Protocol):
    """One system. Each call returns when the caller knows all results."""

    durable: str
    """What of it survives a kill -9 of its coordinator."""

    def start(self, workers: int, state: Path) -> None:
        """Bring everything up; files go to ``state``."""

    def bag(self, n: int) -> None:
        """Null tasks that know nothing of each other."""

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        """Tasks that sleep (0: null tasks) and wait for others."""

    def processes(self, n: int) -> None:
        """Each task is a process that ends at once."""

    def stop(self) -> None:
        """End what was started."""


def drive(dependencies: Dependencies, submit: Callable[[int, Callable[[int], None]], None]) -> None:
    """Keep dependencies on behalf of a system that has none: ``submit(i, done)`` calls ``done(i)`` at the end."""
    after, left = followers(dependencies), [len(above) for above in dependencies]
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    for at, above in enumerate(dependencies):
        if not above:
            submit(at, ended.put)
    for _ in dependencies:
        for other in after[ended.get()]:
            left[other] -= 1
            if not left[other]:
                submit(other, ended.put)
