"""A bell for one waiter: something may have changed, look for yourself.

Imports the clock port only. Invariant: a bell that rang before anybody waited is heard.
"""

import asyncio

from pto_ports.clock import Clock


class News:
    """One attempt's bell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Ring it."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Until it rings, or so long."""
        stop_timer = self._clock.call_later(seconds, self._event.set) if seconds is not None else None
        try:
            await self._event.wait()
        finally:
            if stop_timer is not None:
                stop_timer()
        self._event.clear()
