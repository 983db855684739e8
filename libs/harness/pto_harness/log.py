"""A task's output: a log file capped head and tail, the last lines, and live lines for whoever looks on.

Imports the standard library only. Invariant: values named as secrets are blanked out before anything leaves here, and a
task that writes without end costs a bounded file and bounded memory.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pto_harness.limits import MAX_HELD_BYTES, MIN_SECRET_CHARS, TAIL_LINE_CHARS, TAIL_LINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
BLANK = b"***"


class TaskLog:
    """Takes chunks of output as they come. The file appears with the first byte; without output there is none."""

    def __init__(
        self,
        path: str,
        head_bytes: int,
        tail_bytes: int,
        on_line: Callable[[str, str], None] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._path = Path(path) if path else None
        self._head_left, self._tail_bytes = head_bytes, tail_bytes
        self._tail: deque[bytes] = deque()
        self._tail_size = self._dropped = 0
        self._file: BinaryIO | None = None
        self._secrets = _secret_bytes(secrets)
        self._held: dict[str, bytes] = {}
        self._partial: dict[str, bytes] = {}
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self.size = 0

    def feed(self, stream: str, data: bytes) -> None:
        """Take a chunk of ``stdout`` or ``stderr``."""
        if self._secrets:
            data = self._held.pop(stream, b"") + data
            data, held = self._split_for_secrets(data)
            self._held[stream] = held
        if data:
            self._take(stream, data)

    def note(self, text: str) -> None:
        """A line of the harness itself."""
        self.feed("stderr", f"[harness] {text}\n".encode(errors="replace"))

    def tail(self) -> list[str]:
        """The last lines, without control characters."""
        partial = [line for line in self._partial.values() if line]
        return [_clean(line) for line in [*self._lines, *partial][-TAIL_LINES:]]

    def close(self) -> None:
        """Write the tail of the log; nothing can be fed after this."""
        for stream, held in list(self._held.items()):
            self._held[stream] = b""
            self._take(stream, self._blanked(held))
        for stream, line in self._partial.items():
            if line and self._on_line:
                self._on_line(stream, _clean(line))
        try:
            if self._dropped:
                self._write(f"\n[harness] ... {self._dropped} bytes of output dropped ...\n".encode())
            for chunk in self._tail:
                self._write(chunk)
        finally:
            self._tail.clear()
            if self._file:
                self._file.close()

    def _split_for_secrets(self, data: bytes) -> tuple[bytes, bytes]:
        """What can leave now, blanked, and the unfinished line, in which a secret may not be complete yet."""
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > MAX_HELD_BYTES:
            data = self._blanked(data)
            cut = len(data) - max(len(secret) for secret in self._secrets)
        return self._blanked(data[:cut]), data[cut:]

    def _blanked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret, BLANK)
        return data

    def _take(self, stream: str, data: bytes) -> None:
        self.size += len(data)
        self._keep_lines(stream, data)
        head, rest = data[: self._head_left], data[self._head_left :]
        if head:
            self._head_left -= len(head)
            self._write(head)
        if rest:
            self._keep_tail(rest)

    def _keep_tail(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size > self._tail_bytes:
            over = self._tail_size - self._tail_bytes
            first = self._tail.popleft()
            if len(first) > over:
                self._tail.appendleft(first[over:])
            gone = min(over, len(first))
            self._dropped += gone
            self._tail_size -= gone

    def _keep_lines(self, stream: str, data: bytes) -> None:
        *lines, partial = (self._partial.pop(stream, b"") + data).split(b"\n")
        self._partial[stream] = partial[:MAX_HELD_BYTES]
        self._lines.extend(lines[-TAIL_LINES:])
        if self._on_line:
            for line in lines:
                self._on_line(stream, _clean(line))

    def _write(self, data: bytes) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb", buffering=0)
        while data:
            data = data[self._file.write(data) or 0 :]


def _secret_bytes(secrets: Iterable[str]) -> list[bytes]:
    """Each value and, of values with several lines, each line; the longest first, so that none hides in another."""
    found = {line for value in secrets for line in (value, *value.splitlines()) if len(line) >= MIN_SECRET_CHARS}
    return sorted((text.encode(errors="surrogateescape") for text in found), key=len, reverse=True)


def _clean(line: bytes) -> str:
    shown = line.rstrip(b"\r").rsplit(b"\r", 1)[-1]  # of a progress bar: what a terminal would show
    text = _ESCAPES.sub("", shown[: TAIL_LINE_CHARS * 8].decode(errors="replace"))
    text = _CONTROLS.sub("", text)
    return text if len(text) <= TAIL_LINE_CHARS else text[: TAIL_LINE_CHARS - 3] + "..."
