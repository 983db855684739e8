"""Runs one command as a process group of its own, with a time limit, captured output and a way to end it.

Imports the standard library only. Invariant: when ``run_command`` returns, no process of the command's group runs;
after a time limit or a cancel also none that left the group, as long as it kept the environment it was started with.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pto_harness.limits import DRAIN_S, GRACE_S, READ_BYTES
from pto_harness.strays import kill_strays

if TYPE_CHECKING:
    from pto_harness.cancel import Cancel
    from pto_harness.guard import Guard

POLL_S = 0.05
"""Where the kernel has no pidfd (before Python 3.9): how often the end of the process is looked for."""
_LIMITED = 'ulimit -v "$1" || exit 126; shift; exec "$@"'


class Ended(NamedTuple):
    """How a command ended."""

    exit_code: int
    """As the shell shows it: 128 + the signal's number for a process that a signal ended."""
    why: str
    """``exited``, ``timeout`` or ``cancelled``."""


def run_command(
    command: str | list[str],
    *,
    cwd: str,
    env: dict[str, str],
    feed: Callable[[str, bytes], None],
    cancel: Cancel,
    time_limit_s: float = 0.0,
    memory_bytes: int = 0,
    marker: str = "",
    guard: Guard | None = None,
    stdin: bytes = b"",
) -> Ended:
    """Run shell text or an argument vector to its end. Output goes to ``feed(stream, data)`` as it comes.

    ``stdin`` is all that it can read there. ``marker`` is a ``NAME=value`` of ``env`` that no other task has; it
    finds processes that left the group. Raises OSError when the program cannot be started.
    """
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    if memory_bytes:
        argv = ["/bin/sh", "-c", _LIMITED, "sh", str(memory_bytes // 1024), *argv]
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=given if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        if guard is not None:
            guard.add(process.pid)
        watch = _Watch(process, feed, cancel, time_limit_s, marker, guard)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return watch.run()


class _Watch:
    """Reads a process's output until it has ended and everything of it is gone."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        feed: Callable[[str, bytes], None],
        cancel: Cancel,
        time_limit_s: float,
        marker: str,
        guard: Guard | None,
    ) -> None:
        self._process = process
        self._feed = feed
        self._cancel = cancel
        self._marker = marker
        self._guard = guard
        self._deadline = time.monotonic() + time_limit_s if time_limit_s else None
        self._kill_at: float | None = None
        self._why = "exited"
        self._pipes: dict[int, str] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = os.pipe()
        self._pidfd = _open_pidfd(process.pid)

    def run(self) -> Ended:
        for name, pipe in (("stdout", self._process.stdout), ("stderr", self._process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._pipes[pipe.fileno()] = name
                self._selector.register(pipe.fileno(), selectors.EVENT_READ)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        if self._pidfd >= 0:
            self._selector.register(self._pidfd, selectors.EVENT_READ)
        self._cancel.listen(self._wake)
        try:
            while not _has_ended(self._process.pid):
                self._step()
            self._signal(signal.SIGKILL)
            if self._why != "exited" and self._marker:
                kill_strays(self._marker)
            self._drain()
            if self._pipes and self._marker:
                kill_strays(self._marker)
                self._drain()
        finally:
            self._cancel.unlisten(self._wake)
            self._signal(signal.SIGKILL)
            if self._guard is not None:
                self._guard.remove(self._process.pid)
            code = self._process.wait()
            self._close()
        return Ended(code if code >= 0 else 128 - code, self._why)

    def _wake(self) -> None:
        os.write(self._wake_in, b"x")

    def _step(self) -> None:
        """Wait for output, the end, a cancel or a deadline, whatever comes first."""
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._signal(signal.SIGKILL)
            self._kill_at = None
        elif self._why == "exited" and (self._cancel.requested or (self._deadline and now >= self._deadline)):
            self._why = "cancelled" if self._cancel.requested else "timeout"
            self._signal(signal.SIGTERM)
            self._kill_at = now + GRACE_S
        until = self._kill_at if self._why != "exited" else self._deadline
        patience = None if until is None else max(0.0, until - now)
        if self._pidfd < 0:
            patience = min(POLL_S, POLL_S if patience is None else patience)
        for key, _ in self._selector.select(patience):
            if key.fd == self._wake_out:
                os.read(self._wake_out, 16)
            elif key.fd != self._pidfd:
                self._read(key.fd)

    def _read(self, pipe: int) -> None:
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._feed(self._pipes[pipe], data)
        else:
            self._selector.unregister(pipe)
            del self._pipes[pipe]

    def _drain(self) -> None:
        """What is still in the pipes; a process that escaped may hold them open, so only for a while."""
        if self._pidfd in self._selector.get_map():
            self._selector.unregister(self._pidfd)
        until = time.monotonic() + DRAIN_S
        while self._pipes and time.monotonic() < until:
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                if key.fd in self._pipes:
                    self._read(key.fd)
                else:
                    os.read(self._wake_out, 16)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _close(self) -> None:
        self._selector.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        for descriptor in (self._wake_out, self._wake_in, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)


def _has_ended(pid: int) -> bool:
    """Whether the process has ended; it is not reaped, so that its number still means its group and nobody else's."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _open_pidfd(pid: int) -> int:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return -1
    try:
        return int(opener(pid))
    except OSError:
        return -1
