"""A clock that stands still until it is told to move. Imports the standard library only.

Invariant: time moves only in ``advance`` and ``run``, from sleeper to sleeper; sleepers of one moment wake in the order
in which they fell asleep, so the same program always runs the same way.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z: any fixed moment does."""
SETTLE_TURNS = 64
"""Turns of the event loop between two moments: longer than any chain of tasks that wake each other without sleeping."""


class VirtualClock:
    """A Clock for simulations, and for tests that would wait otherwise."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._start_ms = start_ms
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = 0

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._start_ms + round(self._now_s * 1000)

    def monotonic_s(self) -> float:
        """Seconds since the clock was made."""
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was moved past this moment; zero lets the others go first."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._new_sleeper(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], object]:
        """Call ``callback`` when the clock was moved past that moment, unless what is returned is called before."""
        wake = self._new_sleeper(seconds)
        wake.add_done_callback(lambda done: None if done.cancelled() else callback())
        return wake.cancel

    def _new_sleeper(self, seconds: float) -> "asyncio.Future[None]":
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slept += 1
        heapq.heappush(self._sleepers, (self._now_s + seconds, self._slept, wake))
        return wake

    async def advance(self, seconds: float) -> None:
        """Move on by this much, waking every sleeper at its moment and letting it act before time goes on."""
        end = self._now_s + seconds
        await self._settle()
        while self._next_moment() is not None and self._sleepers[0][0] <= end:
            await self._wake_next()
        self._now_s = end
        await self._settle()

    async def run(self, work: Coroutine[Any, Any, _T], max_s: float = 86_400.0) -> _T:
        """Do ``work``, jumping from sleeper to sleeper whenever everybody sleeps. Raises TimeoutError after ``max_s``.

        Work that waits for something that no sleeper will bring is a deadlock: RuntimeError.
        """
        task = asyncio.ensure_future(work)
        end = self._now_s + max_s
        try:
            await self._settle()
            while not task.done():
                moment = self._next_moment()
                if moment is None:
                    raise RuntimeError("everybody waits and nobody sleeps: nothing can happen any more")
                if moment > end:
                    raise TimeoutError(f"not done after {max_s:g} s of virtual time")
                await self._wake_next()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _next_moment(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():  # a cancelled sleeper
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def _wake_next(self) -> None:
        moment, _, wake = heapq.heappop(self._sleepers)
        self._now_s = max(self._now_s, moment)
        wake.set_result(None)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
