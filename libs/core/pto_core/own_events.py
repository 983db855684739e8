"""What one writer wrote lately, so that it need not decode its own bytes when it reads them back.

Imports pto_proto and siblings only. Invariant: an event is taken from memory only for the very bytes it was encoded to,
so reading by this gives what ``decode_event`` gives.
"""

from collections.abc import Iterable

from pto_core.coalesce import Message
from pto_proto.envelope import Event, decode_event

MAX_KEPT = 1_000
"""Messages kept: the biggest tick and some that are on their way; what is not read back by then is decoded."""


class OwnEvents:
    """The events of one writer, by their bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Event] = {}

    def wrote(self, messages: Iterable[Message]) -> None:
        """Remember what is about to be written."""
        for message in messages:
            self._known[message.data] = message.event
        while len(self._known) > MAX_KEPT:
            del self._known[next(iter(self._known))]

    def read(self, data: bytes) -> Event:
        """The event in these bytes. Raises ProtocolError."""
        return self._known.pop(data, None) or decode_event(data)
