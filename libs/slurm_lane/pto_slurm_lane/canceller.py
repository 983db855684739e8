"""Ends jobs by their ids, many in one call.

Imports ports and siblings. Invariant: only jobs that it was told of are cancelled; whether they end, the next looks
tell.
"""

import asyncio

from pto_ports.clock import Clock
from pto_runtime.logs import get_logger
from pto_slurm_lane.clients import ClientFailed, SlurmClients
from pto_slurm_lane.watch import Watch

GATHER_S = 0.1
"""A run that is cancelled has many jobs: they share their calls."""
AGAIN_S = 3.0


class Canceller:
    """One for all attempts of a lane."""

    def __init__(self, clients: SlurmClients, clock: Clock, watch: Watch) -> None:
        self._clients = clients
        self._clock = clock
        self._watch = watch
        self._wanted: dict[str, None] = {}
        self._wake = asyncio.Event()

    def cancel(self, job: str) -> None:
        """Ask for its end; returns at once."""
        self._wanted[job] = None
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; what could not be asked for is asked for again."""
        while True:
            await self._wake.wait()
            await self._clock.sleep(GATHER_S)
            self._wake.clear()
            jobs, self._wanted = list(self._wanted), {}
            try:
                await self._clients.cancel(jobs)
            except ClientFailed as failed:
                get_logger().warning("jobs could not be cancelled; trying again", jobs=len(jobs), reason=str(failed))
                self._wanted = {**dict.fromkeys(jobs), **self._wanted}
                await self._clock.sleep(AGAIN_S)
                self._wake.set()
            self._watch.hurry()
