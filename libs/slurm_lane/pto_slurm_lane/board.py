"""The folder in which jobs leave word, scanned for all attempts at once.

Imports ports and pto_slurm_node. Invariants: an event is handed over once it is whole, and once only; a file that
cannot be read hides no other; events of attempts that nobody here waits for are left where they are, since a restart
may still ask for them.
"""

import asyncio
from collections.abc import Callable

from pto_ports.clock import Clock
from pto_runtime.logs import get_logger
from pto_slurm_node.spool import Event, Spool, events_in, read_json

EAGER_S, SLACKEN = 0.02, 1.5
"""Pause after news while more may come any moment, and how it grows without."""


class Board:
    """Calls ``on_event`` with each new event of the attempts that are listened for, in the event loop."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        *,
        interval_s: float,
        wanted: Callable[[str], bool],
        on_event: Callable[[Event, dict[str, object]], None],
        is_eager: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._interval_s = interval_s
        self._wanted = wanted
        self._on_event = on_event
        self._is_eager = is_eager
        """Whether events may come any moment: then it scans as often as they do."""
        self._seen: dict[str, str] = {}
        """Files that were handed over, and the attempts that they are about."""
        self._turn = asyncio.Lock()
        self._logger = get_logger()

    async def run(self) -> None:
        """Scan until cancelled."""
        pause_s = self._interval_s
        while True:
            try:
                has_news = await self.scan()
            except OSError as error:
                has_news = False
                self._logger.warning("the folder of results cannot be read; trying on", reason=str(error))
            pause_s = EAGER_S if has_news else min(self._interval_s, pause_s * SLACKEN)
            await self._clock.sleep(pause_s if self._is_eager() else self._interval_s)

    async def scan(self) -> bool:
        """Once; whether there was anything new. Raises OSError: then nothing is known of what is there."""
        async with self._turn:
            events = await asyncio.to_thread(events_in, self._spool.results)
            there = {event.file_name for event in events}
            self._seen = {name: about for name, about in self._seen.items() if name in there}
            fresh = [event for event in events if event.file_name not in self._seen and self._wanted(event.fence.name)]
            found = await asyncio.to_thread(self._read, fresh) if fresh else []
            for event, data in found:
                self._seen[event.file_name] = event.fence.name
                self._on_event(event, data)
            return bool(found)

    def _read(self, events: list[Event]) -> list[tuple[Event, dict[str, object]]]:
        """In a thread: the shared folder may be slow."""
        found = []
        for event in events:
            try:
                data = read_json(self._spool.results / event.file_name)
            except (OSError, RecursionError) as error:
                self._logger.warning("an event cannot be read; trying on", file=event.file_name, reason=str(error))
                continue
            if isinstance(data, dict):
                found.append((event, data))
        return found

    def put_aside(self, event: Event) -> None:
        """Its word does not count: keep it for a person to look at."""
        try:
            (self._spool.results / event.file_name).replace(self._spool.stale / event.file_name)
        except OSError as error:
            self._logger.info("a stale event stays", file=event.file_name, reason=str(error))

    def drop(self, name: str) -> None:
        """The attempt's end is in the log: its events may go."""
        files = [file for file, about in self._seen.items() if about == name]
        for path in [self._spool.results / file for file in files] or self._spool.results.glob(f"{name}.*"):
            path.unlink(missing_ok=True)
