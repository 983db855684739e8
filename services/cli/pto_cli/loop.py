"""The event loop of one command, and what Ctrl-C and SIGTERM do to it.

Imports asyncio and uvloop, and nothing that takes long. Invariant: the first signal asks, the second one ends at once.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_INTERRUPTED, complain

SHOW_CURSOR = "\x1b[?25h"
"""The live picture hides it."""


_editing: list[object] = []
"""Not empty while Ctrl-C belongs to somebody else at this terminal."""


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Leave Ctrl-C to an editor that runs at the same terminal; SIGTERM still counts."""
    _editing.append(None)
    try:
        yield
    finally:
        _editing.pop()


def run_loop(work: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Run ``work`` with an event that Ctrl-C and SIGTERM set; a second Ctrl-C ends at once. Returns its exit code."""
    import uvloop

    from pto_runtime.ending import end_others

    async def guarded() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: int) -> None:
            if number == signal.SIGINT and _editing:
                return
            if stop.is_set():
                _leave_at_once()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)
        try:
            return await work(stop)
        finally:
            await end_others(_say_what_is_deaf, EXIT_ENVIRONMENT)

    return uvloop.run(guarded())


def _say_what_is_deaf(waits_at: list[str]) -> None:
    complain(f"cannot be ended in order, and is cut off: {place}" for place in waits_at)
    sys.stdout.flush()


def _leave_at_once() -> None:
    """Safe at any moment: the log is on disk, and broker and tasks end with this process."""
    if sys.stdout.isatty():
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
    os._exit(EXIT_INTERRUPTED)
