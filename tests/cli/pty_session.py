"""A command at a terminal of its own, as a person sees it and types into it."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path

PATIENCE_S = 30.0


class PtySession:
    """One command; what it wrote so far is in ``seen``."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self._terminal, theirs = pty.openpty()
        size = {"COLUMNS": "100", "LINES": "40", "TERM": "xterm"}
        self.process = subprocess.Popen(
            command, cwd=cwd, env={**environment, **size}, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
            start_new_session=True, preexec_fn=lambda: _own(theirs),
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def expect(self, text: str) -> str:
        """Read until this is written; returns all up to it, and forgets it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.seen}"
            if not self._read():
                break
        assert text in self.seen, f"{text!r} did not come before the end: {self.seen}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._terminal, keys.encode())

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        while self._read():
            pass
        code = self.process.wait(PATIENCE_S)
        os.close(self._terminal)
        return code

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], PATIENCE_S)
        assert ready, f"nothing more comes: {self.seen}"
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # the last one who had the terminal open has gone
            return False
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


def _own(terminal: int) -> None:
    """Make it the controlling terminal, so that Ctrl-C and Ctrl-D mean something."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
