"""One measurement: what ran, how long, at what price, and what else went on. A record is one line of JSON.

Standard library only: peers read this in environments of their own. Invariants: the fixed loop runs right before the
clock starts; nothing that the meter does itself falls between ``start`` and ``stop``, but reading of ``/proc``.
"""

import os
import time
from typing import Any

from .machine import busy_s, calibrate, family, memory, used_s

Record = dict[str, Any]


class Meter:
    """Time, processor time and memory of this process and all below it, over one workload."""

    def __init__(self, *others: int) -> None:
        self._roots = (os.getpid(), *others)
        """``others``: processes that belong to it although they are nobody's children here."""
        self._calib_s = calibrate()
        self.began = self._ended = 0.0
        """By ``time.perf_counter``."""
        self._used = self.used_before_s = self._busy = self._busy_before = 0.0

    def start(self) -> None:
        self.used_before_s, self._busy_before = used_s(family(*self._roots)), busy_s()
        self.began = time.perf_counter()

    def stop(self) -> None:
        self._ended = time.perf_counter()
        self._busy, self._used = busy_s(), used_s(family(*self._roots))

    @property
    def seconds(self) -> float:
        return self._ended - self.began

    def since_start(self) -> float:
        """Seconds from ``start`` to now."""
        return time.perf_counter() - self.began

    def record(self, n: int) -> Record:
        """The figures of ``n`` tasks."""
        seconds, used = self.seconds, self._used - self.used_before_s
        held = memory(family(*self._roots))
        return {
            "n": n,
            "seconds": round(seconds, 5),
            "rate": round(n / seconds, 1),
            "ms_per_task": round(seconds / n * 1e3, 4),
            "cpu_s": round(used, 3),
            "cpu_us_per_task": round(used / n * 1e6, 1),
            "procs": held.procs,
            "rss_mb": held.rss_mb,
            "pss_mb": held.pss_mb,
            "calib_s": round(self._calib_s, 4),
            "other_cores": round(max(0.0, self._busy - self._busy_before - used) / seconds, 2),
        }
