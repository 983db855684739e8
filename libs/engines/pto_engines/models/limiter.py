"""One limiter per model and process: how many ask at once, and when all must wait.

Imports the clock port. Invariants: while a pause lasts nobody asks; after it one caller tries for all, and the
others follow only when that one was answered. Used from one event loop; every time comes from the clock.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from pto_engines.models.limits import MAX_PAUSE_S, PAUSE_S
from pto_ports.clock import Clock


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A model takes nothing for a while; for those who show or use that (a lane, a progress line)."""

    model: str
    reason: str
    until_ms: int
    """Unix time; 0: it answers again."""


OnPause = Callable[[Pause], None]


class Overdue(Exception):
    """The caller's patience ended before its turn came; ``retry_after_s`` is what is left of the pause."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the model takes nothing for another {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class ModelLimiter:
    """The queue in front of one model. ``on_pause`` is called from the loop's thread and must return at once."""

    def __init__(self, model: str, clock: Clock, at_once: int, on_pause: OnPause | None = None) -> None:
        self.model = model
        self._clock = clock
        self._at_once = at_once
        self._on_pause = on_pause
        self._running = 0
        self._until_s = 0.0
        self._strikes = 0
        """Pauses since the last answer."""
        self._moved = asyncio.Event()

    @property
    def pause_left_s(self) -> float:
        """How long the pause still lasts."""
        return max(0.0, self._until_s - self._clock.monotonic_s())

    async def enter(self, patience_s: float) -> None:
        """Return when it is the caller's turn, who must ``leave`` afterwards. Raises Overdue; time in the queue of a
        model that answers does not count.
        """
        since: float | None = None
        while not self._is_open():
            if self._strikes:
                now = self._clock.monotonic_s()
                since = now if since is None else since
                left = since + patience_s - now
                if left <= 0 or self.pause_left_s > left:
                    raise Overdue(self.pause_left_s or PAUSE_S)
            else:
                since = None
            await self._wait(self.pause_left_s or None if self._strikes == 0 else self._nap(since, patience_s))
        self._running += 1

    def leave(self) -> None:
        """The caller's turn is over."""
        self._running -= 1
        self._wake()

    def pause(self, reason: str, retry_after_s: float | None = None) -> float:
        """Nobody asks for so long; returns how long, from now. Pauses of callers that were under way add nothing."""
        if not self.pause_left_s:
            self._strikes += 1
        wait = min(MAX_PAUSE_S, PAUSE_S * 2.0 ** min(self._strikes - 1, 30)) if retry_after_s is None else retry_after_s
        self._until_s = max(self._until_s, self._clock.monotonic_s() + wait)
        if self._on_pause is not None:
            until_ms = self._clock.now_ms() + round(self.pause_left_s * 1000)
            self._on_pause(Pause(model=self.model, reason=reason, until_ms=until_ms))
        return self.pause_left_s

    def answered(self) -> None:
        """The model answered: all may go on."""
        if self._strikes and not self.pause_left_s:
            self._strikes = 0
            if self._on_pause is not None:
                self._on_pause(Pause(model=self.model, reason="", until_ms=0))
            self._wake()

    def _is_open(self) -> bool:
        if self.pause_left_s:
            return False
        return self._running < (1 if self._strikes else self._at_once)

    def _nap(self, since: float | None, patience_s: float) -> float:
        """Until the pause ends, or (while another one tries) until the caller's patience does."""
        end = (since or 0.0) + patience_s - self._clock.monotonic_s()
        return self.pause_left_s or max(0.001, end)

    async def _wait(self, seconds: float | None) -> None:
        """Until something moved, or so many seconds passed."""
        moved = asyncio.ensure_future(self._moved.wait())
        waiting: list[asyncio.Future[Any]] = [moved]
        if seconds is not None:
            waiting.append(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()
                with suppress(asyncio.CancelledError):
                    await future

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
