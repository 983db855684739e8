"""The log port: an append-only sequence of messages, read in order, written with a fence.

Invariant: what a reader yields has strictly rising sequences, and nothing that was acknowledged is ever missing from
it.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One stored message."""

    seq: int
    subject: str
    data: bytes


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message to store. ``wire_id`` is the same on every retry of the same bytes."""

    subject: str
    data: bytes
    wire_id: str


class Fence(msgspec.Struct, frozen=True):
    """Store only if the last sequence on ``subject`` is still ``seq`` (0: nothing was ever stored there)."""

    subject: str
    seq: int


class LogUnavailable(Exception):
    """The log cannot be reached just now. Nobody's fault; trying again can help."""


class LogFull(LogUnavailable):
    """The log, or its disk, has no room for this. Surely not stored; trying again helps when somebody made room."""


class LogCorrupt(Exception):
    """The log has a gap or lacks its stream. Trying again will not help; the message says what to look at."""


class NotSettled(Exception):
    """An append was answered by anything but a clean acknowledgement (duplicate, lost fence, time-out).

    It may or may not have been stored: only reading the log tells. ``reason`` is for the log line.
    """


class LogReader(Protocol):
    """An ordered reader with its own position. It survives restarts of the broker by itself."""

    @property
    def caught_up(self) -> bool:
        """Whether everything that was in the log when the reader was opened has been yielded."""

    @property
    def interruptions(self) -> int:
        """How often the reader lost touch with the log. When it rises, what it yields may be older than usual."""

    async def next(self, max_wait_s: float) -> list[Recorded]:
        """What is new, in order, as soon as there is something; an empty list after ``max_wait_s`` without news.

        Raises LogCorrupt when a message is missing (of an unfiltered reader) or the stream is gone.
        """

    async def close(self) -> None:
        """End the reader; its position is not kept."""


class EventLog(Protocol):
    """One stream of messages."""

    async def read(self, *, after: int = 0, subject: str | None = None) -> LogReader:
        """A reader of what is stored after sequence ``after`` on subjects that match ``subject`` (None: all)."""

    async def read_run(self, subject: str, *, after: int = 0, up_to: int | None = None) -> list[Recorded]:
        """All stored messages on ``subject`` with ``after`` < sequence <= ``up_to``, once, without following."""

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        """Store all messages or none, in order; returns the sequence of the last one.

        At most ``MAX_BATCH`` messages. Raises NotSettled; LogUnavailable when nothing can have been stored.
        """

    async def append_each(self, messages: Sequence[Outgoing]) -> None:
        """Store each message by itself: cheaper than ``append`` for a few whose order the fold does not need.

        At most ``MAX_EACH`` messages, in their order unless the log is in trouble. A repeated one counts as stored.
        Raises NotSettled and LogUnavailable when one of them may be missing; others may be stored.
        """

    async def last_seq(self, subject: str | None = None) -> int:
        """The last sequence on ``subject`` (None: of the whole stream); 0 if there is none."""


class ArchivedLog(EventLog, Protocol):
    """A stream as its archiver sees it."""

    async def purge(self, up_to: int) -> None:
        """Remove everything up to this sequence for good; again is harmless. Raises LogUnavailable."""


MAX_BATCH = 900
"""Messages of one append; the broker takes at most 1,000 in one atomic batch."""
MAX_EACH = 4
"""Messages of one ``append_each``: a synced message costs about 0.2 ms, an atomic batch 1.3 ms whatever is in it."""
