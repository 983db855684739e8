"""Runs commands as process groups of their own, with a time limit, captured output and a way to end them.

Imports the standard library only. Invariants: when a command is said to have ended, no process of its group runs; after
a time limit or a cancel also none that left the group, as long as it kept the environment it was started with; a
program whose loading hangs is the exception: it is given up, and killed as soon as the kernel has loaded it. What
goes wrong while a command is looked after ends that command and disturbs no other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pto_harness.failure import Failed
from pto_harness.limits import DRAIN_S, GRACE_S, READ_BYTES, STUCK_S
from pto_harness.poller import Poller
from pto_harness.spawn import prepare
from pto_harness.stopwatch import awake_s
from pto_harness.strays import kill_strays

if TYPE_CHECKING:
    from pto_harness.cancel import Cancel
    from pto_harness.guard import Guard
    from pto_harness.poller import Then, Timer

POLL_S = 0.05
"""Where the kernel has no pidfd (before Python 3.9): how often the end of the process is looked for."""
NEVER_RAN = 128 + signal.SIGTERM
"""The exit code of what a cancel or the time limit ended before it ran: as if it had been ended at once."""
_LIMITED = 'ulimit -v "$1" || exit 126; shift; exec "$@"'


class Ended(NamedTuple):
    """How a command ended."""

    exit_code: int
    """As the shell shows it: 128 + the signal's number for a process that a signal ended."""
    why: str
    """``exited``, ``timeout`` or ``cancelled``."""


class Command(NamedTuple):
    """What to run: shell text or an argument vector.

    ``marker`` is a ``NAME=value`` of ``env`` that no other command has; it finds processes that left the group.
    """

    command: str | list[str]
    cwd: str
    env: dict[str, str]
    time_limit_s: float = 0.0
    memory_bytes: int = 0
    marker: str = ""
    stdin: bytes = b""
    """All that it can read there."""
    before: Callable[[], None] | None = None
    """Called first, in the thread that starts it, because it may block."""
    wrap: Callable[[list[str]], list[str]] | None = None
    """Puts the argument vector into a sandbox; it may not fail."""

    def argv(self) -> list[str]:
        """What the kernel is asked to run."""
        argv = ["/bin/sh", "-c", self.command] if isinstance(self.command, str) else list(self.command)
        if self.memory_bytes:
            argv = ["/bin/sh", "-c", _LIMITED, "sh", str(self.memory_bytes // 1024), *argv]
        return argv if self.wrap is None else self.wrap(argv)


def run_command(
    command: Command, feed: Callable[[str, bytes], None], cancel: Cancel, guard: Guard | None = None
) -> Ended:
    """Run it to its end; output goes to ``feed(stream, data)`` as it comes.

    Raises OSError or ValueError when it cannot be started.
    """
    poller = Poller()
    outcome: list[tuple[Any, BaseException | None]] = []
    process = Process(command, poller, feed, cancel, lambda *ended: outcome.append(ended), guard)
    try:
        process.start()
        poller.run_until(lambda: bool(outcome))
    except BaseException:
        process.abandon()
        raise
    finally:
        poller.close()
    ended, error = outcome[0]
    if error is not None:
        raise error
    return Ended(*ended)


class Process:
    """One command in the hands of a Poller, called in the Poller's thread only."""

    def __init__(
        self,
        command: Command,
        poller: Poller,
        feed: Callable[[str, bytes], None],
        cancel: Cancel,
        then: Then,
        guard: Guard | None = None,
    ) -> None:
        self._command = command
        self._poller = poller
        self._feed = feed
        self._cancel = cancel
        self._then = then
        self._guard = guard
        self._pid = 0
        self._pidfd = -1
        self._pipes: dict[int, str] = {}
        self._ends: list[int] = []
        """The process's own ends of the pipes."""
        self._timer: Timer | None = None
        """The next thing that time brings: the limit, the end of the grace, the end of the draining."""
        self._why = "exited"
        self._has_exited = False
        self._is_draining = False
        """Whether only the end of its output is waited for."""
        self._is_lost = False
        """Whether a fault ended the watch over it."""
        self._is_told = False
        """Whether ``then`` was called, or shall not be any more."""
        self._error: BaseException | None = None

    def start(self) -> None:
        """Have it started; ``then`` is called once with Ended, or with why it could not be started or watched."""
        command, ends = self._command, self._ends
        try:
            for name in ("stdout", "stderr"):
                out, into = os.pipe()
                os.set_blocking(out, False)
                self._pipes[out] = name
                ends.append(into)
            stdout, stderr = ends
            if command.stdin:
                ends.append(_holding(command.stdin))
            spawn = prepare(command.argv(), command.cwd, command.env, stdout, stderr, *ends[2:])
        except Exception as error:
            self._started(None, error)
        else:
            # Before it runs, because loading a program may take for ever, as on a stale network file system.
            if command.time_limit_s:
                self._limit(awake_s() + command.time_limit_s)
            self._cancel.listen(self._on_cancel)
            self._poller.aside(partial(self._spawn, spawn), self._started, is_start=True)

    def _limit(self, until: float) -> None:
        """End it at this time, which comes later for each second in which this process, and so it too, was stopped."""
        left = until - awake_s()
        if left > 0:
            self._set_timer(left, partial(self._limit, until))
        else:
            self._stop("timeout")

    def _spawn(self, spawn: Callable[[], int]) -> int | None:
        """In another thread, if the Poller has some: blocks until the program is loaded. None: it shall not run."""
        if self._command.before is not None and not self._shall_end():
            self._command.before()
        if self._shall_end():
            return None
        pid = spawn()
        if self._guard is not None:
            self._guard.add(pid)
        if self._is_told:  # at once, and even if nobody takes it any more
            self._bury(pid)
            return None
        return pid

    def _shall_end(self) -> bool:
        return self._cancel.requested or self._why != "exited"

    def abandon(self) -> None:
        """End it at once, without calling ``then``."""
        self._cancel.unlisten(self._on_cancel)
        self._is_told = True
        self._close()
        if self._pid:
            self._bury(self._pid)

    def _safely(self, callback: Callable[[], None]) -> Callable[[], None]:
        """The same for the Poller, which must not see it fail."""

        def call() -> None:
            try:
                if not self._is_lost:
                    callback()
            except Exception as error:
                if self._is_told:
                    raise
                self._lose(error)

        return call

    def _lose(self, error: BaseException) -> None:
        """It cannot be looked after any more: end it at once, and tell why."""
        self._is_lost = True
        with contextlib.suppress(OSError):
            self._close()
        failed = Failed("infra", f"the command was ended, because it could not be watched any more: {error}")
        failed.__cause__ = error
        if self._pid:
            self._poller.aside(partial(self._bury, self._pid), lambda *_: self._tell(None, failed))
        else:
            self._tell(None, failed)

    def _bury(self, pid: int) -> None:
        """Kill it and see it gone; in any thread."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self._reap(pid)
        # Killed is not gone yet: the others of the group end when the kernel comes to it.
        until = time.monotonic() + DRAIN_S
        with contextlib.suppress(ProcessLookupError, PermissionError):
            while time.monotonic() < until:
                os.killpg(pid, 0)
                time.sleep(POLL_S / 10)

    def _started(self, pid: int | None, error: BaseException | None) -> None:
        # Not before: a start that hangs still needs them.
        for into in self._ends:
            os.close(into)
        if self._is_told:
            if pid is not None:
                self._poller.aside(partial(self._bury, pid), lambda *_: None)
        elif pid is None:
            self._close()
            why = "cancelled" if self._why == "exited" else self._why
            self._tell(Ended(NEVER_RAN, why) if error is None else None, error)
        else:
            self._pid = pid
            self._safely(self._watch)()

    def _watch(self) -> None:
        self._pidfd = _open_pidfd(self._pid)
        for pipe in self._pipes:
            self._poller.watch(pipe, self._safely(partial(self._read, pipe)))
        if self._pidfd >= 0:
            self._poller.watch(self._pidfd, self._safely(self._look))
        else:
            self._poller.later(POLL_S, self._safely(self._look))
        if self._why != "exited":
            self._ask_to_end()

    def _on_cancel(self) -> None:
        """In any thread."""
        self._poller.soon(self._safely(partial(self._stop, "cancelled")))

    def _stop(self, why: str) -> None:
        """Ask all its processes to end, and end them after a while."""
        if self._is_told or self._has_exited or self._why != "exited":
            return
        self._why = why
        if self._pid:
            self._ask_to_end()
        else:
            self._set_timer(STUCK_S, self._give_up)

    def _give_up(self) -> None:
        """Its start hangs, and nothing can end that: the process is killed when it comes."""
        self._close()
        self._tell(Ended(NEVER_RAN, self._why), None)

    def _ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)
        self._set_timer(GRACE_S, partial(self._signal, signal.SIGKILL))

    def _look(self) -> None:
        if self._has_exited:
            return
        if not _has_ended(self._pid):
            if self._pidfd < 0:
                self._poller.later(POLL_S, self._safely(self._look))
            return
        self._has_exited = True
        self._set_timer(0.0, None)
        self._poller.forget(self._pidfd)
        self._signal(signal.SIGKILL)
        if self._why != "exited" and self._command.marker:
            self._sweep(self._drain)
        else:
            self._drain()

    def _sweep(self, then: Callable[[], None]) -> None:
        """End what left the group; looking through the process table takes long."""
        self._poller.aside(partial(kill_strays, self._command.marker), lambda *_: self._safely(then)())

    def _drain(self) -> None:
        """Read what is still in the pipes; a process that escaped may hold them open, so only for a while."""
        for pipe in list(self._pipes):
            self._read(pipe)
        self._drain_for(DRAIN_S, self._drain_without_strays if self._command.marker else self._finish)

    def _drain_without_strays(self) -> None:
        self._is_draining = False
        self._sweep(lambda: self._drain_for(DRAIN_S, self._finish))

    def _drain_for(self, seconds: float, then: Callable[[], None]) -> None:
        if self._pipes:
            self._is_draining = True
            self._set_timer(seconds, then)
        else:
            self._finish()

    def _read(self, pipe: int) -> None:
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return
        if data and self._error is None:
            try:
                self._feed(self._pipes[pipe], data)
            except Exception as error:
                self._error = error
                self._signal(signal.SIGKILL)
        elif not data:
            self._poller.forget(pipe)
            del self._pipes[pipe]
            os.close(pipe)
            if self._is_draining and not self._pipes:
                self._finish()

    def _finish(self) -> None:
        self._close()
        status = self._reap(self._pid)
        if self._error is not None:
            self._tell(None, self._error)
        elif status is not None:
            code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            self._tell(Ended(code, self._why), None)
        else:
            reason = "nobody knows how the command ended: its exit status went elsewhere (is SIGCHLD ignored here?)"
            self._tell(None, Failed("infra", reason))

    def _tell(self, ended: Ended | None, error: BaseException | None) -> None:
        self._cancel.unlisten(self._on_cancel)
        self._set_timer(0.0, None)
        self._is_told = True
        self._then(ended, error)

    def _reap(self, pid: int) -> int | None:
        """Its status, if that can be had."""
        if self._guard is not None:
            self._guard.remove(pid)
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:
            return None

    def _close(self) -> None:
        for descriptor in (*self._pipes, self._pidfd):
            if descriptor >= 0:
                self._poller.forget(descriptor)
                os.close(descriptor)
        self._pipes.clear()
        self._pidfd = -1

    def _set_timer(self, seconds: float, callback: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if callback is None else self._poller.later(seconds, self._safely(callback))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


def _has_ended(pid: int) -> bool:
    """Whether the process has ended; it is not reaped, so that its number still means its group and nobody else's."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else has reaped it
        return True


def _holding(data: bytes) -> int:
    """A descriptor from which a process reads this."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return os.dup(file.fileno())


def _open_pidfd(pid: int) -> int:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return -1
    try:
        return int(opener(pid))
    except OSError:
        return -1
