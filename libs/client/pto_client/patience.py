"""Asking a broker whose servers may be choosing a leader just now.

Imports ports only. Invariant: what is away for longer than that is told to whoever asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pto_ports.event_log import LogUnavailable

Answer = TypeVar("Answer")
PATIENCE_S = 10.0
"""How long a broker may take to answer: servers that have just lost one choose a new leader within 5 s."""
RETRY_S = 0.5
"""Pause between two tries."""


async def through_an_election(
    ask: Callable[[], Awaitable[Answer]],
    *,
    check: Callable[[], None] = lambda: None,
    on_wait: Callable[[LogUnavailable], None] = lambda away: None,
) -> Answer:
    """What the log says. Raises LogUnavailable when it was away for ``PATIENCE_S``.

    ``check`` is called after each answer that did not come and may raise, ``on_wait`` hears of the first one.
    """
    until = time.monotonic() + PATIENCE_S
    is_told = False
    while True:
        try:
            return await ask()
        except LogUnavailable as away:
            check()
            if time.monotonic() >= until:
                raise
            if not is_told:
                is_told = True
                on_wait(away)
            await asyncio.sleep(RETRY_S)
