"""What running attempts print, sent on line by line to whoever looks on.

Imports ports and siblings. Invariants: it reads on from where it was, never more than ``CHUNK`` of a file at once, and
never makes an attempt wait.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from pto_ports.backend import LiveLine, Order
from pto_ports.clock import Clock

CHUNK = 64 * 1024
"""For each file and look: who prints faster loses lines here, not in its log."""
MAX_LINE = 4000


class Tails:
    """Of all attempts of a lane."""

    def __init__(
        self, clock: Clock, live: LiveLine, *, interval_s: float, logs: Callable[[], Iterable[tuple[Order, str, Path]]]
    ) -> None:
        self._clock = clock
        self._live = live
        self._interval_s = interval_s
        self._logs = logs
        self._read: dict[Path, int] = {}
        """How far each file was sent."""
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(self._interval_s)

    async def look(self) -> None:
        """Once."""
        async with self._turn:
            for order, stream, path in list(self._logs()):
                for line in await asyncio.to_thread(self._lines, path):
                    self._live(order, stream, line)

    async def finish(self, order: Order, stream: str, path: Path) -> None:
        """Send what is left of a file that nobody writes any more."""
        async with self._turn:
            for line in await asyncio.to_thread(self._lines, path):
                self._live(order, stream, line)
            self._read.pop(path, None)

    def drop(self, path: Path) -> None:
        """Nobody writes this file any more; what is left of it is not sent."""
        self._read.pop(path, None)

    def _lines(self, path: Path) -> list[str]:
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                at = min(self._read.get(path, 0), size)
                file.seek(max(at, size - CHUNK))
                data = file.read(CHUNK)
        except OSError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        self._read[path] = max(at, size - CHUNK) + len(whole) + len(newline)
        return [line[:MAX_LINE] for line in whole.decode(errors="replace").split("\n")] if newline else []
