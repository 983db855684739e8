"""The machine's clock as the clock port.

Imports the standard library only. Invariant: the only place of the product that asks the machine for the time of
events.
"""

import asyncio
import time
from collections.abc import Callable

_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """Real time."""

    def now_ms(self) -> int:
        """Unix time in milliseconds; may jump with the machine's clock."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back; for durations. A suspended machine's sleep counts where the system tells it."""
        return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], object]:
        """Call ``callback`` after this many seconds, unless what is returned is called before."""
        return asyncio.get_running_loop().call_later(seconds, callback).cancel
