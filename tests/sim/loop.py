"""An event loop whose time is virtual, and in which whole processes can be stopped, let go on, or killed.

Invariant: nothing depends on the machine's clock or on threads: the same program always runs the same way. Time moves
only when nobody has anything to do at the moment. What belongs to a process is known by its context.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import Any

from pto_memory import VirtualClock

from .hearing import Hearing

MAX_TURNS_PER_MOMENT = 20_000
"""Turns of the loop without time going on: whoever needs more is busy waiting."""


class Stalled(Exception):
    """Everybody waits for something that nobody will bring."""


class BusyWaiting(Exception):
    """Somebody turns round and round without time going on."""


class Life:
    """One process from its start to its death. While it is stopped, nothing of it runs; what it is owed is kept."""

    def __init__(self, name: str, incarnation: str) -> None:
        self.name = name
        self.incarnation = incarnation
        self.is_stopped = False
        self.is_dead = False
        self.held: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.hearing = Hearing()
        self.stopped_at = 0.0
        self.at_death: list[Callable[[], object]] = []
        self.context = Context()
        self.context.run(_LIFE.set, self)


_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class _Handle(asyncio.TimerHandle):
    """A callback that waits for its turn or its moment; asyncio's own does more than is needed here."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: Sequence[object], loop: "SimLoop", context: Context | None
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = self._scheduled = False
        self._when = 0.0
        self._repr = self._source_traceback = None

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class SimLoop(asyncio.BaseEventLoop):
    """The loop. Worker threads are calls; waiting takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self._turns = 0
        self._calendar: list[tuple[float, int, _Handle]] = []
        self._entries = 0
        self.set_task_factory(_remember)
        self.errors: list[str] = []
        """What callbacks raised; nobody else would see it."""
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self._moment

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._moment + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = _Handle(callback, args, self, context)
        handle._when = when
        self._entries += 1
        heapq.heappush(self._calendar, (when, self._entries, handle))
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        self.call_soon(_do_work, future, func, args)
        return future

    def _run_once(self) -> None:
        ready, calendar = self._ready, self._calendar
        while not self._stopping:
            if ready:
                handle = ready.popleft()
                self._turns += 1
                if self._turns > MAX_TURNS_PER_MOMENT:
                    raise BusyWaiting(f"{MAX_TURNS_PER_MOMENT} turns at {self._moment:.3f} s; next: {handle!r}")
            elif calendar:
                when, _, handle = heapq.heappop(calendar)
                if when > self._moment and not handle._cancelled:
                    self._moment, self._turns = when, 0
            else:
                raise Stalled("everybody waits and nobody sleeps")
            if handle._cancelled:
                continue
            context = handle._context
            life = context.get(_LIFE)
            if life is not None and life.is_stopped:
                life.held.append(handle)
                continue
            try:
                context.run(handle._callback, *handle._args)
            except Exception as error:
                self.errors.append(f"{handle!r}: {error!r}")

    # --- processes ---

    def stop_life(self, life: Life) -> None:
        """SIGSTOP."""
        life.is_stopped = True
        life.stopped_at = self._moment

    def let_go_on(self, life: Life) -> None:
        """SIGCONT."""
        if not life.is_dead:
            life.is_stopped = False
            life.hearing.disturb(life.stopped_at, self._moment, slept=True)
            self._ready.extend(life.held)
            life.held.clear()

    def kill(self, life: Life) -> None:
        """SIGKILL: nothing of it runs any more, its ``finally`` blocks included."""
        life.is_dead = life.is_stopped = True
        for forget in life.at_death:
            forget()

    def bury(self, lives: list[Life]) -> None:
        """End every coroutine that is left, after the simulation, so that nothing of it runs at some other time."""
        for life in lives:
            self.kill(life)
        left = [task for life in lives for task in life.tasks if not task.done()]
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            for _ in range(20):
                try:
                    task.get_coro().close()  # type: ignore[union-attr]
                    break
                except (RuntimeError, ValueError):  # it waits for something in a ``finally`` block
                    continue
        for life in lives:
            life.held.clear()
        self._ready.clear()
        self._calendar.clear()


def _remember(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **options)
    context = options.get("context")
    life = context.get(_LIFE) if context is not None else _LIFE.get()
    if life is not None:
        life.tasks.append(task)
        if len(life.tasks) > 512:
            life.tasks = [known for known in life.tasks if not known.done()]
    return task


def _do_work(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


class LoopClock(VirtualClock):
    """A clock of one machine, on the loop's time; its wall clock may be wrong by ``skew_ms``."""

    def __init__(self, loop: SimLoop, skew_ms: int = 0) -> None:
        super().__init__()
        self._loop = loop
        self._skew_ms = skew_ms

    def now_ms(self) -> int:
        return self._start_ms + self._skew_ms + round(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = self._loop
        wake = loop.create_future()
        timer = loop.call_later(seconds, _wake, wake)
        try:
            await wake
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], object]:
        return self._loop.call_later(seconds, callback).cancel


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
