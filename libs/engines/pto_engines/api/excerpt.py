"""Keeps the beginning and the end of an output that may be endless.

Imports the standard library. Invariant: it never holds more than it was allowed.
"""

import threading


class Excerpt:
    """Fed with bytes of any stream, from any thread."""

    def __init__(self, max_bytes: int) -> None:
        self._half = max_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._lock = threading.Lock()

    def feed(self, stream: str, data: bytes) -> None:
        """Take what came."""
        with self._lock:
            room = self._half - len(self._head)
            self._head += data[:room]
            self._tail += data[max(0, room) :]
            over = len(self._tail) - self._half
            if over > 0:
                self._left_out += over
                del self._tail[:over]

    def text(self) -> str:
        """What was kept, with a mark where something was left out."""
        with self._lock:
            gap = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
            return (self._head + gap + self._tail).decode(errors="replace")
