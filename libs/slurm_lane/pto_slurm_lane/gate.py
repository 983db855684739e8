"""The way to sbatch: one submission at a time, no faster than told, and none while the site takes no more.

Imports ports and siblings. Invariant: who passes it is alone with sbatch until it has its answer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pto_ports.clock import Clock
from pto_slurm_lane.bucket import TokenBucket
from pto_slurm_lane.watch import Watch

FULL_S = 30.0
"""After the site took no more, the next try, unless a job has ended before."""
AWAY_POLL_S = 0.2


class Gate:
    """One for all attempts of a lane."""

    def __init__(self, clock: Clock, bucket: TokenBucket, watch: Watch) -> None:
        self._clock = clock
        self._bucket = bucket
        self._watch = watch
        self._turn = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self.full_why = ""
        """The site's words while it takes no more; empty: it does."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Within this, sbatch may be called once."""
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    async def enter(self) -> None:
        """Return when sbatch may be called once; ``leave`` afterwards."""
        await self._turn.acquire()
        try:
            await self._open.wait()
            while self._watch.away_since_s is not None:
                self._watch.hurry()
                await self._clock.sleep(AWAY_POLL_S)
            await self._bucket.take()
        except BaseException:
            self._turn.release()
            raise

    def leave(self) -> None:
        """The next one, please."""
        self._turn.release()

    def shut(self, words: str) -> None:
        """The site takes no more for now."""
        self.full_why = words
        self._open.clear()
        self._clock.call_later(FULL_S, self.reopen)

    def reopen(self) -> None:
        """A job has ended, or some time has passed: try again."""
        self.full_why = ""
        self._open.set()
