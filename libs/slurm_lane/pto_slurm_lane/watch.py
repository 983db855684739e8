"""Looks at the cluster for all attempts at once: one squeue per interval, and the folder of results in between.

Imports ports, pto_slurm and pto_slurm_node. Invariants: a look that failed changes nothing and is no look; it looks
only while somebody has a job; however eager its users are, two looks begin at least ``floor_s`` apart.
"""

import asyncio
import math
from collections.abc import Callable, Iterable

from pto_ports.clock import Clock
from pto_runtime.logs import get_logger
from pto_slurm.queue import JobRow
from pto_slurm_lane.clients import ClientFailed, SlurmClients

QUIET = 1.5
"""So many times longer is each pause while nothing changes, or the controller is slow."""
MAX_PAUSE_S = 60.0
SLOW_S = 1.0
"""A look that takes longer than this is a burden to its controller."""
SACCT_EACH_S = 60.0
SACCT_GATHER_S = 0.1
"""Jobs that vanish together are asked about together."""
MAX_PAST = 1000
"""Jobs in one question."""


class Look:
    """What one squeue that worked has shown."""

    def __init__(self, number: int, began_s: float, jobs: Iterable[JobRow]) -> None:
        self.number = number
        self.began_s = began_s
        self.jobs = {row.job: row for row in jobs}
        self.states = {row.job: (row.state, row.reason) for row in self.jobs.values()}
        self._by_name: dict[str, list[JobRow]] = {}
        for row in self.jobs.values():
            self._by_name.setdefault(row.name, []).append(row)

    def named(self, name: str, comment: str) -> list[JobRow]:
        """The jobs of this name that are truly ours; the oldest first."""
        rows = [row for row in self._by_name.get(name, ()) if row.comment == comment]
        return sorted(rows, key=lambda row: int(row.job))


class Watch:
    """Looks while ``is_needed`` and calls ``on_look`` after each look that worked."""

    def __init__(
        self,
        clients: SlurmClients,
        clock: Clock,
        *,
        interval_s: float,
        floor_s: float,
        is_needed: Callable[[], bool],
        on_look: Callable[[], None],
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._interval_s = interval_s
        self._floor_s = min(floor_s, interval_s)
        self._is_needed = is_needed
        self._on_look = on_look
        self._wake = asyncio.Event()
        self._numbers = 0
        self._pause_s = interval_s
        self._due_s = clock.monotonic_s()
        self._last_began_s = self._due_s - MAX_PAUSE_S
        self._last_sacct_s = self._due_s - SACCT_EACH_S
        self._vanished: dict[str, None] = {}
        """Jobs that accounting is to be asked about."""
        self._past: dict[str, JobRow] = {}
        self._past_turn = asyncio.Lock()
        self.look: Look | None = None
        """The last one that worked."""
        self.away_since_s: float | None = None
        """Since when the controller does not answer; None: it does."""
        self.away_why = ""
        self._logger = get_logger()

    def hurry(self) -> None:
        """Somebody waits for what the next look will show."""
        self._look_at(self._last_began_s + self._floor_s)

    def renew(self) -> None:
        """Something has changed that a look will show: no longer pauses for now."""
        self._pause_s = self._interval_s
        self._look_at(self._clock.monotonic_s() + self._interval_s)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            while not self._is_needed():
                await self._wait(None)
            left_s = max(self._due_s, self._last_began_s + self._floor_s) - self._clock.monotonic_s()
            if left_s > 0:
                await self._wait(left_s)
                continue
            before, self._due_s = self.look, math.inf
            await self._look()
            took_s = self._clock.monotonic_s() - self._last_began_s
            is_quiet = self.away_since_s is not None or (before is not None and before.states == self._states())
            longer = is_quiet or took_s > SLOW_S
            self._pause_s = min(MAX_PAUSE_S, self._pause_s * QUIET) if longer else self._interval_s
            # Somebody may have hurried meanwhile.
            self._due_s = min(self._due_s, self._last_began_s + self._pause_s)

    async def past(self, job: str) -> JobRow | None:
        """What accounting says of a job that squeue has forgotten; it is asked once a minute at most, about all."""
        self._vanished[job] = None
        await self._clock.sleep(SACCT_GATHER_S)
        async with self._past_turn:
            now = self._clock.monotonic_s()
            if job in self._vanished and now - self._last_sacct_s >= SACCT_EACH_S:
                self._last_sacct_s = now
                jobs, self._vanished = list(self._vanished)[:MAX_PAST], {}
                try:
                    self._past = {row.job: row for row in await self._clients.past_jobs(jobs)}
                except ClientFailed as failed:
                    self._past = {}
                    self._logger.info("accounting does not answer; it is not needed", reason=str(failed))
        return self._past.get(job)

    def _look_at(self, due_s: float) -> None:
        self._due_s = min(self._due_s, due_s)
        self._wake.set()

    async def _wait(self, seconds: float | None) -> None:
        """So long, or until somebody wants something."""
        stop_timer = self._clock.call_later(seconds, self._wake.set) if seconds is not None else None
        try:
            await self._wake.wait()
        finally:
            if stop_timer is not None:
                stop_timer()
        self._wake.clear()

    def _states(self) -> dict[str, tuple[str, str]]:
        return {} if self.look is None else self.look.states

    async def _look(self) -> None:
        began = self._last_began_s = self._clock.monotonic_s()
        try:
            jobs = await self._clients.jobs()
        except ClientFailed as failed:
            if self.away_since_s is None:
                self.away_since_s = began
                self._logger.warning("SLURM does not answer; nothing is concluded from that", reason=str(failed))
            self.away_why = str(failed)
            return
        if self.away_since_s is not None:
            self._logger.info("SLURM answers again", away_s=round(began - self.away_since_s))
        self.away_since_s, self.away_why = None, ""
        self._numbers += 1
        self.look = Look(self._numbers, began, jobs)
        self._on_look()
