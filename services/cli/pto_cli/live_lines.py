"""What running tasks print, as it comes: for ``logs -f`` and ``-v``.

Imports dispatch's line format, proto and siblings. Invariant: lines may be lost, and none can change the terminal.
"""

import sys
from collections.abc import Awaitable, Callable

import msgspec

from pto_cli.access import Access
from pto_dispatch.live import LogLine
from pto_proto.ids import Lane, RunId
from pto_proto.subjects import live_subject


async def show_live(access: Access, run: RunId, task: str | None = None) -> Callable[[], Awaitable[None]]:
    """Print lines of the run's tasks (or of one task) from now on; returns what ends it."""

    def on_line(subject: str, data: bytes) -> None:
        line = msgspec.json.decode(data, type=LogLine)
        if task is None or line.task == task:
            sys.stdout.write(f"{line.task}.{line.attempt} | {printable(line.text.rstrip())}\n")
            sys.stdout.flush()

    return await access.session.live.listen(live_subject("log", Lane("*"), run), on_line)


def printable(text: str) -> str:
    """Text of a task without what could move the cursor or change the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
