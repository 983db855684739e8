"""A clock for time limits that stands still while this process is stopped, as when SLURM suspends its job.

Imports the standard library only. Invariant: until ``watch`` was called it is the monotonic clock; from then on a
stretch in which no thread of this process could run does not count.
"""

from __future__ import annotations

import threading
import time

TICK_S = 1.0
STOPPED_S = 4.0
"""A tick that is so late was not held up by a busy machine."""


class AwakeClock:
    """May be asked in any thread, and in a signal's handler."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._seen: float | None = None
        """When it was last certain that this process ran; None: nobody watches."""
        self._stopped = 0.0

    def now(self) -> float:
        """Seconds, comparable with those of this clock only."""
        with self._lock:
            now = time.monotonic()
            if self._seen is not None:
                late = now - self._seen - TICK_S
                # Who asks first after a stop finds it out, whether that is the watch or a timer.
                self._stopped += late if late > STOPPED_S else 0.0
                self._seen = now
            return now - self._stopped

    def watch(self) -> None:
        """Find out from now on, until this process ends."""
        self._seen = time.monotonic()
        threading.Thread(target=self._tick, name="awake", daemon=True).start()

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_S)
            self.now()


AWAKE = AwakeClock()
