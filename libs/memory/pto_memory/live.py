"""The LiveChannel port in memory. Imports proto and the standard library only.

Invariant: a message reaches those who listen when it is sent, at once and in order.
"""

from collections.abc import Awaitable, Callable

from pto_proto.subjects import subject_filter

_OnLine = Callable[[str, bytes], None]


class MemoryLiveChannel:
    """One channel, shared by everybody who holds it."""

    def __init__(self) -> None:
        self._listeners: list[tuple[Callable[[str], bool], _OnLine]] = []

    async def send(self, subject: str, data: bytes) -> None:
        """As the port says."""
        for wants, on_line in list(self._listeners):
            if wants(subject):
                on_line(subject, data)

    async def listen(self, pattern: str, on_line: _OnLine) -> Callable[[], Awaitable[None]]:
        """As the port says."""
        listener = (subject_filter(pattern), on_line)
        self._listeners.append(listener)

        async def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop
