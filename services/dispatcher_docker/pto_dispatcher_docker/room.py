"""How much room a container's folders take, looked at for as long as it runs.

Imports harness, ports and siblings. Invariant: looking takes a bounded number of threads, however many containers run.
"""

import asyncio
import shutil
from pathlib import Path

from pto_dispatcher_docker.limits import LEAST_FREE_SHARE, ROOM_LOOK_S, ROOM_LOOKS
from pto_harness.room import holds_more
from pto_ports.clock import Clock


class Rooms:
    """Of one dispatcher; ``most_bytes``: what one attempt may take."""

    def __init__(self, clock: Clock, most_bytes: int) -> None:
        self._clock = clock
        self.most_bytes = most_bytes
        self._turns = asyncio.Semaphore(ROOM_LOOKS)

    def limit(self, folder: Path) -> int:
        """What an attempt that starts now may take on the disk of this folder: bytes."""
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            return self.most_bytes
        return min(self.most_bytes, free // LEAST_FREE_SHARE)

    async def is_full(self, folders: tuple[Path, ...], most_bytes: int) -> None:
        """Return when one of the folders takes more."""
        while True:
            await self._clock.sleep(ROOM_LOOK_S)
            async with self._turns:
                for folder in folders:
                    if await asyncio.to_thread(holds_more, str(folder), most_bytes):
                        return
