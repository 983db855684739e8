"""The harness's poller, driven by the event loop of the service.

Imports harness only. Invariant: everything that the poller calls is called in the thread of the event loop.
"""

import asyncio
import os
from collections.abc import Callable

from pto_harness.poller import Poller, Timer

STARTERS = min(4, os.cpu_count() or 1)
"""Processes started at once. Loading a program takes a third of a millisecond, in which its starter only waits."""


class LoopPoller(Poller):
    """Make it inside the event loop; ``workers`` things that may take long are done at once."""

    def __init__(self, workers: int) -> None:
        super().__init__(starters=STARTERS, workers=workers)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.fileno(), self.step)

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call once, when this time has passed."""
        return self._loop.call_later(seconds, callback)

    def close(self) -> None:
        """Free everything."""
        self._loop.remove_reader(self.fileno())
        super().close()
