"""Signals as a cancel, whatever the main thread is doing.

Imports the standard library only. Python runs its signal handlers in the main thread, once that does something: a
signal that comes just before a wait does not end the wait. So the byte that the interpreter writes at once is read by a
thread of its own. Invariant: the task ends in order, and no later than a cancel by a dispatcher would.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def cancel_on_signal(request: Callable[[str], None], *numbers: int) -> None:
    """Call ``request`` with the signal's name on any of these (none given: SIGTERM). From the main thread, once."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    wanted = numbers or (signal.SIGTERM,)
    for number in wanted:
        signal.signal(number, _noted)

    def listen() -> None:
        while True:
            for number in os.read(reader, 16):
                if number in wanted:
                    request(f"signal {signal.Signals(number).name}")

    threading.Thread(target=listen, name="signals", daemon=True).start()


def _noted(*_: object) -> None:
    """Only so that the signal does not end the process."""
