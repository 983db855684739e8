"""The port of plain messages: lines of output, signs of life.

Invariant: losing them loses nothing that matters.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol


class LiveChannel(Protocol):
    """Sends to and hears subjects that nobody keeps."""

    async def send(self, subject: str, data: bytes) -> None:
        """Send one message; it may be dropped."""

    async def listen(self, pattern: str, on_line: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        """Call ``on_line(subject, data)`` for every message that matches; returns what ends it."""
