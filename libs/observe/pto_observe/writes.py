"""Whether the log takes what a service writes, told from how the service's own appends end.

Imports ports only. Invariant: nothing is written to find out, so a service that has nothing to write is in no trouble.
"""

from pto_ports.clock import Clock

TROUBLE_S = 5.0
"""Appends that fail for this long are trouble: a broker that restarts or chooses a new leader is back before."""
FRESH_S = 5.0
"""A failed append says nothing about now after this long: whoever still writes has tried again, and one try takes at
most 3 s. What is left was settled by reading, as a lost fence is.
"""


class Writes:
    """The appends of one service, over all its logs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing_since: float | None = None
        self._failed_at = 0.0
        self._reason = ""

    def taken(self) -> None:
        """The log has acknowledged an append."""
        self._failing_since = None

    def failed(self, began: float, reason: str) -> None:
        """The append that was begun then was refused, or not answered."""
        if self._failing_since is None or began - self._failed_at > FRESH_S:
            self._failing_since = began
        self._failed_at = self._clock.monotonic_s()
        self._reason = reason

    def trouble(self) -> str:
        """What is wrong with writing; empty if nothing is."""
        now = self._clock.monotonic_s()
        if self._failing_since is None or now - self._failed_at > FRESH_S or now - self._failing_since < TROUBLE_S:
            return ""
        return f"the log has taken nothing of what it writes for {now - self._failing_since:.0f} s: {self._reason}"
