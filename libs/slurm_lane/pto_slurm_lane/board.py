"""The folder in which jobs leave word, scanned for all attempts at once.

Imports ports and pto_slurm_node. Invariants: an event is handed over once it is whole; events of attempts that nobody
here waits for are left where they are, since a restart may still ask for them.
"""

import asyncio
from collections.abc import Callable

from pto_ports.clock import Clock
from pto_runtime.logs import get_logger
from pto_slurm_node.spool import Event, Spool, events_in, read_json


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
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._interval_s = interval_s
        self._wanted = wanted
        self._on_event = on_event
        self._seen: set[str] = set()
        self._logger = get_logger()

    async def run(self) -> None:
        """Scan until cancelled."""
        while True:
            await self.scan()
            await self._clock.sleep(self._interval_s)

    async def scan(self) -> None:
        """Once."""
        try:
            events = await asyncio.to_thread(events_in, self._spool.results)
        except OSError as error:
            self._logger.warning("the folder of results cannot be read; trying on", reason=str(error))
            return
        names = {event.file_name for event in events}
        self._seen &= names
        fresh = [event for event in events if event.file_name not in self._seen and self._wanted(event.fence.name)]
        for event in fresh:
            data = await asyncio.to_thread(read_json, self._spool.results / event.file_name)
            if isinstance(data, dict):
                self._seen.add(event.file_name)
                self._on_event(event, data)

    def put_aside(self, event: Event) -> None:
        """Its word does not count: keep it for a person to look at."""
        try:
            (self._spool.results / event.file_name).replace(self._spool.stale / event.file_name)
        except OSError as error:
            self._logger.info("a stale event stays", file=event.file_name, reason=str(error))

    def drop(self, name: str) -> None:
        """The attempt's end is in the log: its events may go."""
        for path in self._spool.results.glob(f"{name}.*"):
            path.unlink(missing_ok=True)
