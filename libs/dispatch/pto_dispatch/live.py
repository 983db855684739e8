"""Sends lines of output to whoever looks on, from any thread, in small batches.

Imports ports and proto only. Invariant: it never blocks a task and never grows without bound; what is too much is
dropped.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from pto_ports.backend import Order
from pto_proto.ids import Lane, TaskId
from pto_proto.subjects import live_subject

MAX_WAITING = 10_000
"""Lines that wait to be sent; older ones are dropped, since the whole log is kept as an artifact anyway."""
PAUSE_S = 0.05
"""Lines of this long share their way through the loop; people do not see the difference."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of ``pto-live.log.<lane>.<run>``."""

    task: TaskId
    attempt: int
    stream: str
    text: str


class LiveLines:
    """A ``LiveLine`` port on a function that sends bytes to a subject. Make it inside the event loop."""

    def __init__(self, lane: Lane, send: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._lane = lane
        self._send = send
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=MAX_WAITING)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def __call__(self, order: Order, stream: str, text: str) -> None:
        """Queue one line."""
        line = LogLine(task=order.ready.task, attempt=order.ready.attempt, stream=stream, text=text)
        subject = live_subject("log", self._lane, order.run)
        is_first = not self._waiting
        self._waiting.append((subject, msgspec.json.encode(line)))
        if is_first and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        while self._waiting:
            await self._send(*self._waiting.popleft())
            if not self._waiting:
                await asyncio.sleep(PAUSE_S)
