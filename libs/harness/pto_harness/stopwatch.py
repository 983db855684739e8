"""Time in which this process could work. While it was stopped, as when SLURM suspends its job, it could not.

Imports the standard library only, Python >= 3.8. Invariants: it never goes back and never faster than the system's
clock; until ``notice_stops`` was called it is the system's clock.
"""

from __future__ import annotations

import threading
import time

TICK_S = 1.0
STOPPED_S = 5.0
"""A tick that comes so late was no victim of a busy machine: the process was stopped."""


class Stopwatch:
    """Ticks for as long as the process may run, and leaves out the time between two ticks that are far apart."""

    def __init__(self, tick_s: float = TICK_S, stopped_s: float = STOPPED_S) -> None:
        self._tick_s = tick_s
        self._stopped_s = stopped_s
        self._lock = threading.RLock()  # asked in a signal's handler, too
        self._last: float | None = None
        self._left_out_s = 0.0

    def start(self) -> None:
        """Begin to tick; once is enough."""
        with self._lock:
            if self._last is not None:
                return
            self._last = time.monotonic()
        threading.Thread(target=self._tick, name="stopwatch", daemon=True).start()

    def now_s(self) -> float:
        """Seconds since some moment, without those in which the process was stopped."""
        with self._lock:
            now = time.monotonic()
            if self._last is not None:
                gap = now - self._last
                if gap >= self._stopped_s:
                    self._left_out_s += gap - self._tick_s
                self._last = now
            return now - self._left_out_s

    def _tick(self) -> None:
        while True:
            time.sleep(self._tick_s)
            self.now_s()


_OF_THIS_PROCESS = Stopwatch()
notice_stops = _OF_THIS_PROCESS.start
awake_s = _OF_THIS_PROCESS.now_s
