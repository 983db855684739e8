"""What the log says about runs, for whoever wants to know what comes next.

Imports core, ports and proto. Invariants: a run is seen as it was in the log when somebody asked, by the core's own
fold; only what is new is read; a run that cannot be understood here is no run.
"""

import asyncio

from pto_core.fold import evolve
from pto_core.state import Run, State
from pto_ports.event_log import EventLog, Recorded
from pto_proto.envelope import ProtocolError, decode_event
from pto_proto.ids import RunId
from pto_proto.subjects import run_filter
from pto_runtime.logs import get_logger


class Outlooks:
    """Of the runs that were asked about."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._states: dict[RunId, State] = {}
        self._read_up_to: dict[RunId, int] = {}

    async def of(self, run: RunId) -> Run | None:
        """The run as it is now; None: the log does not know it. Raises LogUnavailable."""
        after = self._read_up_to.get(run, 0)
        news = await self._log.read_run(run_filter(run), after=after)
        state = self._states.setdefault(run, State())
        if news:
            self._read_up_to[run] = news[-1].seq
            await asyncio.to_thread(_fold, state, news)
        return state.runs.get(run)

    def drop(self, run: RunId) -> None:
        """Nobody asks about it any more."""
        self._states.pop(run, None)
        self._read_up_to.pop(run, None)


def _fold(state: State, news: list[Recorded]) -> None:
    """In a thread: a big plan takes its time."""
    for recorded in news:
        try:
            evolve(state, recorded.seq, decode_event(recorded.data))
        except ProtocolError as error:
            get_logger().warning("an event cannot be read; no look-ahead from it", seq=recorded.seq, reason=str(error))
