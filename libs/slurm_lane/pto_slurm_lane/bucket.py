"""How fast jobs may be submitted: sites count calls, and hold back who makes too many.

Imports the clock port only. Invariant: in any stretch of time no more pass than ``burst`` plus ``rate``
for each second.
"""

from pto_ports.clock import Clock


class TokenBucket:
    """One submission takes one token."""

    def __init__(self, clock: Clock, *, rate: float, burst: int) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = clock.monotonic_s()

    async def take(self) -> None:
        """Return when it is this caller's turn; one caller at a time."""
        while True:
            now = self._clock.monotonic_s()
            self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await self._clock.sleep((1 - self._tokens) / self._rate)
