"""Asking a log that may be away just now.

Imports ports only. Invariant: a broker that restarts while a service starts delays the service and does not end it.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, LogReader, LogUnavailable
from pto_runtime.logs import get_logger

Answer = TypeVar("Answer")
RETRY_S = 0.05
"""Pause before the next try; a broker is back within half a second after a restart."""


async def open_reader(log: EventLog, clock: Clock, *, after: int = 0, subject: str | None = None) -> LogReader:
    """A reader as ``EventLog.read`` gives it, as soon as the log can be reached. Raises LogCorrupt."""
    return await patiently(lambda: log.read(after=after, subject=subject), clock)


async def patiently(ask: Callable[[], Awaitable[Answer]], clock: Clock) -> Answer:
    """What the log says, as soon as it can be reached; ``ask`` raises LogUnavailable until then."""
    is_told = False
    while True:
        try:
            return await ask()
        except LogUnavailable as away:
            if not is_told:
                is_told = True
                get_logger().warning("the log is away; trying on", reason=str(away))
            await clock.sleep(RETRY_S)
