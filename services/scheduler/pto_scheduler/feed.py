"""Reads a log ahead of who folds it, so that waiting for news and writing do not block each other.

Imports ports only. Invariant: ``take`` yields what the reader yields, all of it, in order; what ended the reading is
raised by ``take`` after the last message before it.
"""

import asyncio

from pto_ports.event_log import LogReader, Recorded

READ_WAIT_S = 5.0
"""Longest wait of one read; only bounds how often the loop looks round."""
MAX_AHEAD = 20_000
"""Messages read ahead: more would only fill memory while the folder is busy."""


class Feed:
    """What was read and not taken yet."""

    def __init__(self, reader: LogReader, wake: asyncio.Event) -> None:
        self._reader = reader
        self._wake = wake
        self._items: list[Recorded] = []
        self._taken = asyncio.Event()
        self._pump = asyncio.create_task(self._read())

    def take(self) -> list[Recorded]:
        """What has come since the last call; raises what ended the reading."""
        items, self._items = self._items, []
        self._taken.set()
        if not items and self._pump.done():
            self._pump.result()
        return items

    async def close(self) -> None:
        """Stop reading."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._reader.close()

    async def _read(self) -> None:
        try:
            while True:
                news = await self._reader.next(READ_WAIT_S)
                if news:
                    self._items += news
                    self._wake.set()
                while len(self._items) > MAX_AHEAD:
                    self._taken.clear()
                    await self._taken.wait()
        finally:
            self._wake.set()
