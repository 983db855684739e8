"""Follows one run: every event as it comes, folded into a view.

Imports core, ports, proto and siblings only. Invariant: the view has seen exactly the events that were yielded.
"""

from collections.abc import Callable
from typing import NamedTuple

from pto_client.patience import through_an_election
from pto_core.views import RunView
from pto_ports.event_log import EventLog, LogReader, Recorded
from pto_proto.envelope import Event, ProtocolError, decode_event
from pto_proto.ids import RunId
from pto_proto.subjects import run_filter


class Seen(NamedTuple):
    """One event of the run; ``event`` is None if this version cannot read it."""

    recorded: Recorded
    event: Event | None


class Follower:
    """A view of one run that keeps up with the log."""

    def __init__(self, log: EventLog, run: RunId) -> None:
        self._log = log
        self._run = run
        self._reader: LogReader | None = None
        self.view = RunView()
        self.on_seen: Callable[[RunView, Seen], None] = lambda view, seen: None
        """Called with each event right after the view has taken it in, before the next one."""

    @property
    def caught_up(self) -> bool:
        """Whether all that was in the log when the follower was opened has been yielded."""
        return self._reader is not None and self._reader.caught_up

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.view.finished is not None

    async def open(self, check: Callable[[], None] = lambda: None) -> None:
        """Start at the run's first event. Raises as ``through_an_election``, LogCorrupt."""
        if self._reader is None:
            subject = run_filter(self._run)
            self._reader = await through_an_election(lambda: self._log.read(subject=subject), check=check)

    async def next(self, max_wait_s: float) -> list[Seen]:
        """What is new; an empty list after ``max_wait_s`` without news."""
        await self.open()
        assert self._reader is not None  # noqa: S101 - ``open`` has just set it
        return [self._take(recorded) for recorded in await self._reader.next(max_wait_s)]

    async def close(self) -> None:
        """End the reader."""
        if self._reader is not None:
            await self._reader.close()
            self._reader = None

    def refusal_of(self, request_id: str) -> list[str]:
        """Why the request was refused; empty if it was not (yet)."""
        return [
            str(reason)
            for refused in self.view.refused
            if refused.request_id == request_id
            for reason in refused.reasons
        ]

    def _take(self, recorded: Recorded) -> Seen:
        try:
            seen = Seen(recorded, decode_event(recorded.data))
        except ProtocolError:
            seen = Seen(recorded, None)
        if seen.event is not None:
            self.view.apply(recorded.seq, seen.event)
        self.on_seen(self.view, seen)
        return seen
