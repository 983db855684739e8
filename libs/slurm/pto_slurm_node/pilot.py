"""A job that does one attempt after another from a pool, so that short tasks do not wait for SLURM each.

Imports the harness, the standard library and siblings only, Python >= 3.8. Invariants: it never begins what it cannot
end before its own time limit; it ends when it is told to, when the pool closes, or when there is nothing to do; what it
was doing then has its result.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from pto_harness import Cancel
from pto_slurm_node.executor import CANNOT_WRITE, DONE, noting_interruption, put_result, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pto_slurm_node.executor import Node
    from pto_slurm_node.pool import Claim, Pool
    from pto_slurm_node.spool import Spool

AT_ONCE = 64
"""Entries that one look at the queue remembers."""
FIRST_NAP_S = 0.005
LONG_IDLE_S, LONG_NAP_S = 15.0, 1.0
"""After so long without work, looks become rare: listing a shared folder costs its server."""
WATCH_S = 0.5
"""How often a running attempt's wish to end is looked for."""


class Pilot:
    """One of them; ``cancel`` is what its job's signals ask for."""

    def __init__(self, spool: Spool, pool: Pool, node: Node, cancel: Cancel, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._pool = pool
        self._node = node
        self._cancel = cancel
        self._say = say
        self._settings = pool.settings
        self._began = time.time()
        self._ends = float(node.environment.get("SLURM_JOB_END_TIME") or self._began + self._settings.minutes * 60)
        self._is_over = threading.Event()
        self._doing: Doing | None = None
        self.done = 0

    def run(self) -> int:
        """Work until there is a reason to end; the exit code."""
        watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        watcher.start()
        try:
            reason = self._work()
        except OSError as error:
            self._say(f"the spool cannot be used: {error}")
            return CANNOT_WRITE
        finally:
            self._is_over.set()
            watcher.join(WATCH_S * 2)
            with contextlib.suppress(OSError):
                self._pool.leave(self._node.job)
        self._say(f"pilot {self._node.job} ends after {self.done} tasks: {reason}")
        return DONE

    def _work(self) -> str:
        idle_since, nap = time.monotonic(), FIRST_NAP_S
        while True:
            reason = self._why_end()
            if reason:
                return reason
            if self._take_some():
                idle_since, nap = time.monotonic(), FIRST_NAP_S
                continue
            idle = time.monotonic() - idle_since
            if idle >= self._settings.idle_s:
                return f"nothing to do for {self._settings.idle_s:g} s"
            time.sleep(nap)  # nothing that a signal's handler could get stuck in
            nap = min(nap * 2, LONG_NAP_S if idle > LONG_IDLE_S else self._settings.nap_s)

    def _why_end(self) -> str:
        if self._cancel.requested:
            return self._cancel.reason
        if self._pool.is_closed(self._node.job):
            return "the pool is closed to it"
        left = self._ends - time.time()
        if left < needed_s(self._settings.task_s, self._settings.lead_s, self._ends - self._began):
            return f"{max(0, left):.0f} s are left, which may be too short for a task"
        return ""

    def _take_some(self) -> bool:
        """Whether anything was done."""
        has_done = False
        for entry in self._pool.waiting()[:AT_ONCE]:
            if has_done and self._why_end():
                break
            claim = self._pool.take(entry, self._node.job)
            if claim is not None:
                has_done = True
                self._do(claim)
            if self._cancel.requested:
                break
        return has_done

    def _do(self, claim: Claim) -> None:
        fence = self._node.fence(claim.entry.name)
        folder = self._spool.attempt(claim.entry.run, claim.entry.name)
        cancel = Cancel()
        doing = self._doing = Doing(claim.entry.name, cancel)
        pass_on = doing.pass_on(self._cancel)
        self._cancel.listen(pass_on)
        try:
            with noting_interruption(self._spool.results, fence, self._node, cancel):
                result = result_of(self._pool.order(claim), folder, fence, self._node, cancel)
        finally:
            self._cancel.unlisten(pass_on)
            self._doing = None
        if put_result(self._spool.results, fence, result) != DONE:
            raise OSError("a result cannot be written")
        self.done += 1

    def _watch(self) -> None:
        """Signs of life, and wishes that what is done now may end."""
        next_beat = 0.0
        while not self._is_over.is_set():
            doing, now = self._doing, time.monotonic()
            with contextlib.suppress(OSError):
                if doing is not None and self._pool.is_stopped(doing.name):
                    doing.cancel.request("the dispatcher asked for its end")
                elif doing is not None and self._pool.is_buried(self._node.job):
                    doing.cancel.request("SLURM has given up the job that does it")
                if now >= next_beat:
                    next_beat = now + self._settings.beat_s
                    self._pool.beat(self._node.job, doing.name if doing else "")
            self._is_over.wait(WATCH_S)


class Doing:
    """The attempt that is done now."""

    def __init__(self, name: str, cancel: Cancel) -> None:
        self.name = name
        self.cancel = cancel

    def pass_on(self, outer: Cancel) -> Callable[[], None]:
        """What ends it when its pilot is told to end."""
        return lambda: self.cancel.request(outer.reason)


def needed_s(task_s: float, lead_s: float, whole_s: float) -> float:
    """What must be left to begin another task: its whole limit, but of a pilot's short life no more than half."""
    return lead_s + min(task_s, max(0.0, whole_s - lead_s) / 2)
