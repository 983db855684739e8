"""The clock port: the only door to time.

Invariant: ``now_ms`` may jump with the machine's clock; ``monotonic_s`` never goes back.
"""

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; for durations."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], object]:
        """Call ``callback`` in the event loop after this many seconds, unless what is returned is called before."""
