"""A log that is watched: what goes through it is counted and timed, and handed to whoever makes traces of it.

Imports ports, proto and siblings. Invariant: it is the log that it stands for, in every answer and every error.
"""

from collections.abc import Callable, Sequence

from pto_observe.metrics import COUNTED, Metrics, Unknown
from pto_observe.writes import Writes
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, Fence, LogReader, LogUnavailable, NotSettled, Outgoing, Recorded
from pto_proto import events as ev
from pto_proto.envelope import Event, ProtocolError, decode_event
from pto_proto.subjects import KINDS, kind_of

_COUNTED = frozenset(map(kind_of, COUNTED))
_UNKNOWN = kind_of(ev.AttemptUnknown)


class WatchedLog:
    """An EventLog around another one."""

    def __init__(
        self,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
        writes: Writes,
        unknown_since: dict[Unknown, int],
        on_written: Callable[[Event], None],
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._writes = writes
        self._unknown_since = unknown_since
        self._on_written = on_written
        self._subject: str | None = None
        self._position = 0

    async def read(self, *, after: int = 0, subject: str | None = None) -> LogReader:
        """See ``EventLog``; the last reader is the one whose lag counts."""
        self._subject, self._position = subject, after
        return _WatchedReader(await self._log.read(after=after, subject=subject), self._note_read)

    async def read_run(self, subject: str, *, after: int = 0, up_to: int | None = None) -> list[Recorded]:
        """See ``EventLog``."""
        return await self._log.read_run(subject, after=after, up_to=up_to)

    async def append(self, messages: Sequence[Outgoing], fence: Fence | None = None) -> int:
        """See ``EventLog``."""
        began = self._clock.monotonic_s()
        try:
            last = await self._log.append(messages, fence)
        except (NotSettled, LogUnavailable) as error:
            self._note_failed(error, began)
            raise
        self._note_written(messages, began)
        return last

    async def append_each(self, messages: Sequence[Outgoing]) -> None:
        """See ``EventLog``."""
        began = self._clock.monotonic_s()
        try:
            await self._log.append_each(messages)
        except (NotSettled, LogUnavailable) as error:
            self._note_failed(error, began)
            raise
        self._note_written(messages, began)

    async def last_seq(self, subject: str | None = None) -> int:
        """See ``EventLog``."""
        return await self._log.last_seq(subject)

    async def measure_lag(self) -> None:
        """Ask the log for its head. Raises LogUnavailable."""
        head = await self._log.last_seq(self._subject)
        self._metrics.lag.set(max(0, head - self._position))

    def _note_read(self, news: list[Recorded]) -> None:
        for recorded in news:
            kind = _kind(recorded.subject)
            self._metrics.read.labels(kind).inc()
            if kind == _UNKNOWN:
                self._note_unknown(recorded)
        self._position = news[-1].seq

    def _note_unknown(self, recorded: Recorded) -> None:
        event = _decode(recorded.data)
        if event is not None and event.run is not None:
            for entry in event.entries:
                name = (event.run, entry.task, entry.round, entry.attempt)
                self._unknown_since.setdefault(name, entry.at)

    def _note_failed(self, error: NotSettled | LogUnavailable, began: float) -> None:
        self._metrics.unsettled.labels(type(error).__name__).inc()
        self._writes.failed(began, str(error))

    def _note_written(self, messages: Sequence[Outgoing], began: float) -> None:
        self._writes.taken()
        self._metrics.append.observe(self._clock.monotonic_s() - began)
        for message in messages:
            kind = _kind(message.subject)
            self._metrics.written.labels(kind).inc()
            if kind in _COUNTED and (event := _decode(message.data)) is not None:
                self._metrics.count_written(event)
                self._on_written(event)


class _WatchedReader:
    def __init__(self, reader: LogReader, note: Callable[[list[Recorded]], None]) -> None:
        self._reader = reader
        self._note = note

    @property
    def caught_up(self) -> bool:
        return self._reader.caught_up

    @property
    def interruptions(self) -> int:
        return self._reader.interruptions

    async def next(self, max_wait_s: float) -> list[Recorded]:
        news = await self._reader.next(max_wait_s)
        if news:
            self._note(news)
        return news

    async def close(self) -> None:
        await self._reader.close()


def _kind(subject: str) -> str:
    parts = subject.split(".", 2)
    kind = parts[1] if len(parts) > 1 else ""
    return kind if kind in KINDS else "other"


def _decode(data: bytes) -> Event | None:
    try:
        return decode_event(data)
    except ProtocolError:
        return None
