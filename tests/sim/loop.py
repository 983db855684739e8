"""An event loop whose time is virtual, and in which whole processes can be stopped, let go on, or killed.

Invariant: nothing depends on the machine's clock or on threads: the same program always runs the same way. Time moves
only when nobody has anything to do at the moment. What belongs to a process is known by its context.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

from pto_memory import VirtualClock

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
        self.at_death: list[Callable[[], object]] = []
        self.context = Context()
        self.context.run(_LIFE.set, self)


_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class SimLoop(asyncio.BaseEventLoop):
    """The loop. Worker threads are calls; waiting takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self._turns = 0
        self.set_task_factory(_remember)
        self.errors: list[str] = []
        """What callbacks raised; nobody else would see it."""
        self.set_exception_handler(self._keep_error)

    def time(self) -> float:
        return self._moment

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        self.call_soon(_do_work, future, func, args)
        return future

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if ready:
            self._turns += 1
            if self._turns > MAX_TURNS_PER_MOMENT:
                raise BusyWaiting(f"{MAX_TURNS_PER_MOMENT} turns at {self._moment:.3f} s; next: {ready[0]!r}")
        elif scheduled:
            self._turns = 0
            self._moment = max(self._moment, scheduled[0]._when)
        else:
            raise Stalled("everybody waits and nobody sleeps")
        while scheduled and scheduled[0]._when <= self._moment:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                life = handle._context.get(_LIFE)
                if life is None or not life.is_stopped:
                    handle._run()
                else:
                    life.held.append(handle)

    def _keep_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "handle" in context:
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    # --- processes ---

    def stop_life(self, life: Life) -> None:
        """SIGSTOP."""
        life.is_stopped = True

    def let_go_on(self, life: Life) -> None:
        """SIGCONT."""
        if not life.is_dead:
            life.is_stopped = False
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
        self._scheduled.clear()


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
        await asyncio.sleep(max(0.0, seconds))
