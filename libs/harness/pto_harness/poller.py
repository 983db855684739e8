"""Waits for descriptors, timers and other threads' work at once, and calls back in one thread.

Imports the standard library only (Linux: epoll). Invariants: callbacks run in the thread that calls ``step`` and
nowhere else; what blocks goes aside. A Poller is itself a descriptor that becomes readable when there is something to
do, so that an event loop can drive it as well as ``run_until`` does.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from pto_harness.limits import EVENTS_AT_ONCE, MAX_SPARE_THREADS, STUCK_S

if TYPE_CHECKING:
    Then = Callable[[Any, "BaseException | None"], None]
    """Takes what a function returned, or what it raised."""


class Timer(Protocol):
    """What ``later`` returns."""

    def cancel(self) -> object:
        """Do not call back any more."""


class _HeapTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Crew:
    """Threads for what blocks; they start when there is work for them."""

    def __init__(self, name: str, size: int, soon: Callable[[Callable[[], None]], None]) -> None:
        self._name, self._size, self._soon = name, size, soon
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Then] | None] = queue.SimpleQueue()
        self._threads = self._under_way = self._spare = 0
        self._numbers = count()
        self._began: dict[int, float] = {}
        """When each thread that is at work began it."""

    def do(self, work: Callable[[], Any], then: Then) -> None:
        """Have it done; call in the thread of the Poller, as ``then`` will be."""
        self._under_way += 1
        self._hire()
        self._jobs.put((work, then))

    @property
    def is_idle(self) -> bool:
        """Whether all is done."""
        return not self._under_way

    def relieve(self, patience: float) -> None:
        """Put a spare thread in the place of each that has been at one piece of work for longer, so far as allowed."""
        until = time.monotonic() - patience
        self._spare = min(MAX_SPARE_THREADS, sum(began < until for began in self._began.copy().values()))
        self._hire()
        while self._threads > self._size + self._spare:
            self._threads -= 1
            self._jobs.put(None)

    def close(self) -> None:
        """Let the threads end when they have done what they have begun."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _hire(self) -> None:
        while self._threads < min(self._under_way, self._size + self._spare):
            self._threads += 1
            # Daemons, because nothing can end the work of an agent that hangs.
            threading.Thread(target=self._work, args=(next(self._numbers),), name=self._name, daemon=True).start()

    def _work(self, number: int) -> None:
        for work, then in iter(self._jobs.get, None):
            self._began[number] = time.monotonic()
            outcome = _outcome(work)
            del self._began[number]
            self._soon(partial(self._back, then, *outcome))

    def _back(self, then: Then, result: Any, error: BaseException | None) -> None:
        self._under_way -= 1
        then(result, error)


class Poller:
    """One thread's. Without threads of its own, what goes aside is done on the spot.

    ``starters``: threads for starting processes, which takes a fraction of a millisecond each (those that get stuck
    hold up no other start); ``workers``: threads for what may take long.
    """

    def __init__(self, *, starters: int = 0, workers: int = 0) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, _HeapTimer]] = []
        self._numbers = count()
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_woken = False
        self._wake_out, into = os.pipe()
        os.set_blocking(into, False)
        # A file object: a thread that comes late must not write into whatever has this descriptor's number by then.
        self._wake_in = open(into, "wb", buffering=0)  # noqa: PTH123, SIM115
        self.watch(self._wake_out, self._run_waiting)
        self._starters = Crew("start", starters, self.soon) if starters else None
        self._workers = Crew("work", workers, self.soon) if workers else None
        self._relief: Timer | None = None
        """While something is being started: the next look for starters that are stuck."""

    def fileno(self) -> int:
        """Readable when ``step`` has something to do."""
        return self._epoll.fileno()

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back whenever the descriptor is readable or closed at its other end; now and then also without cause."""
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """No more calls; do this before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call once, when this time has passed."""
        timer = _HeapTimer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def soon(self, callback: Callable[[], None]) -> None:
        """Call in the next step; from any thread, and from a signal handler."""
        self._waiting.append(callback)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(OSError, ValueError):  # full: it is woken; closed: nobody waits any more
                self._wake_in.write(b"x")

    def aside(self, work: Callable[[], Any], then: Then, *, is_start: bool = False) -> None:
        """Do what blocks in another thread, then call ``then`` with its outcome in this one."""
        crew = self._starters if is_start else self._workers
        if crew is None:
            then(*_outcome(work))
        else:
            crew.do(work, then)
            if is_start and self._relief is None:
                self._relief = self.later(STUCK_S / 2, self._relieve)

    def _relieve(self) -> None:
        self._relief = None
        if self._starters is not None:
            self._starters.relieve(STUCK_S)
            if not self._starters.is_idle:
                self._relief = self.later(STUCK_S / 2, self._relieve)

    def step(self, patience: float | None = 0.0) -> None:
        """Call what is due; wait for something to become due no longer than ``patience`` (None: for ever).

        A descriptor whose callback raises is forgotten, because it would raise again in each step; the others are
        served all the same, and then the error is raised.
        """
        if self._timers:
            left = max(0.0, self._timers[0][0] - time.monotonic())
            patience = left if patience is None else min(left, patience)
        fault: Exception | None = None
        for descriptor, _ in self._epoll.poll(-1 if patience is None else patience, EVENTS_AT_ONCE):
            callback = self._callbacks.get(descriptor)
            try:
                if callback is not None:
                    callback()
            except Exception as error:
                fault = fault or error
                if descriptor != self._wake_out:
                    with contextlib.suppress(OSError):  # its callback may have closed it
                        self.forget(descriptor)
        if fault is not None:
            raise fault
        while self._timers and self._timers[0][0] <= time.monotonic():
            due = heapq.heappop(self._timers)[2].callback
            if due is not None:
                due()

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Step until it is done."""
        while not is_done():
            self.step(None)

    def close(self) -> None:
        """Free everything, without a wait; threads end when they have done what they have begun."""
        if self._relief is not None:
            self._relief.cancel()
        for crew in (self._starters, self._workers):
            if crew is not None:
                crew.close()
        self._is_woken = True
        self._wake_in.close()
        self._epoll.close()
        os.close(self._wake_out)

    def _run_waiting(self) -> None:
        os.read(self._wake_out, 16)
        # Before they are counted: whoever comes later wakes this again.
        self._is_woken = False
        left = len(self._waiting)
        try:
            while left:
                left -= 1
                self._waiting.popleft()()
        finally:
            if left:  # one of them failed; the others are called all the same
                self.soon(self._waiting.popleft())


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error
