"""One event loop in a thread of its own, for callers that block in theirs.

Imports the clock and cancel ports. Invariants: a caller always gets its answer, its cancel or its time limit,
whichever comes first; work that was given up is cancelled, and its connection closed, before the caller goes on.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pto_engines.models.limits import CANCEL_GRACE_S
from pto_ports.clock import Clock
from pto_ports.engine import Cancel, EngineError

_T = TypeVar("_T")


class Background:
    """Starts its thread when it is first needed; ``close`` ends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def run(
        self,
        work: Callable[[], Coroutine[Any, Any, _T]],
        cancel: Cancel | None = None,
        time_limit_s: float | None = None,
    ) -> _T:
        """Do the work in the loop and wait for it. Raises what it raises; EngineError for a cancel or the limit."""
        loop = self._started()
        stop = asyncio.Event()

        def throw() -> None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(stop.set)

        bounded = self._bounded(work, stop, time_limit_s)
        try:
            future = asyncio.run_coroutine_threadsafe(bounded, loop)
        except RuntimeError:  # it was closed just now
            bounded.close()
            raise _stopping() from None
        if cancel is not None:
            cancel.listen(throw)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _stopping() from None
        finally:
            if cancel is not None:
                cancel.unlisten(throw)

    def close(self, last: Callable[[], Awaitable[None]] | None = None) -> None:
        """Cancel all work, do ``last`` in the loop, and end the thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            self._is_closed = True
        if loop is None or thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(_end(last), loop)
        with suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            ending.result(CANCEL_GRACE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CANCEL_GRACE_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._is_closed:
                raise _stopping()
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(loop,), name="models", daemon=True)
                self._thread.start()
            return self._loop

    async def _bounded(
        self, work: Callable[[], Coroutine[Any, Any, _T]], stop: asyncio.Event, time_limit_s: float | None
    ) -> _T:
        doing = asyncio.ensure_future(work())
        stopped = asyncio.ensure_future(stop.wait())
        waiting: list[asyncio.Future[Any]] = [doing, stopped]
        if time_limit_s is not None:
            waiting.append(asyncio.ensure_future(self._clock.sleep(max(0.0, time_limit_s))))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
        finally:
            for future in waiting:
                future.cancel()
            await asyncio.wait(waiting, timeout=CANCEL_GRACE_S)
        if stopped.done() and not stopped.cancelled():
            raise EngineError("cancelled", failure="cancelled")
        raise EngineError("the time limit was reached while the model was asked", failure="timeout")


def _stopping() -> EngineError:
    return EngineError("the process is stopping", failure="cancelled")


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # What came between the end and here must not leave its caller waiting.
        loop.run_until_complete(_end(None))
        loop.close()


async def _end(last: Callable[[], Awaitable[None]] | None) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if last is not None:
        await last()
