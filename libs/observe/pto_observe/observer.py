"""The observer of one service process: its metrics, the traces it makes, and whether it is up and in touch.

Imports core, ports, proto and siblings. Invariant: see ``pto_ports.observer``.
"""

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import generate_latest

from pto_observe.metrics import Metrics, StateMetrics, Unknown
from pto_observe.traces import RunSpan, Traces, are_wanted, otlp_processor
from pto_observe.watched_log import WatchedLog
from pto_observe.writes import Writes
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, LogUnavailable
from pto_ports.observer import Look
from pto_proto import events as ev
from pto_proto.envelope import Event

ANSWER_S = 2.0
"""How long the log may take to answer before a service counts as out of touch."""
SEE_BROKER = "look at the broker's log, the room on its disk and in its streams, and whether most of its servers are up"
NOT_UP = "it has not read its log to the head yet"


class ServiceObserver:
    """Of the service with this name."""

    def __init__(self, service: str, version: str, clock: Clock, traces: Traces | None = None) -> None:
        self._metrics = Metrics(service, version)
        self._clock = clock
        self._traces = traces
        self._unknown_since: dict[Unknown, int] = {}
        self._look: Callable[[], Look] | None = None
        self._log: WatchedLog | None = None
        self._writes = Writes(clock)
        self._is_up = False

    def watch_log(self, log: EventLog) -> EventLog:
        """See ``Observer``."""
        self._log = WatchedLog(log, self._metrics, self._clock, self._writes, self._unknown_since, self._trace)
        return self._log

    def watch_state(self, look: Callable[[], Look]) -> None:
        """See ``Observer``."""
        self._look = look
        self._metrics.registry.register(StateMetrics(look, self._clock, self._unknown_since))

    def ticked(self, seconds: float) -> None:
        """See ``Observer``."""
        self._metrics.tick.observe(seconds)

    def is_up(self) -> None:
        """The service has read its log to the head and announced itself."""
        self._is_up = True
        self._metrics.up.set(1)

    async def not_ready(self) -> str:
        """Why the service cannot do its work now; empty if it can: it is up, its log answers, and takes its events."""
        if self._log is None:
            return NOT_UP
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._log.measure_lag()
        except (LogUnavailable, TimeoutError):
            return f"the log does not answer within {ANSWER_S:g} s"
        trouble = self._writes.trouble() or ("" if self._look is None else self._look().trouble)
        if trouble:
            return f"{trouble}; {SEE_BROKER}"
        return "" if self._is_up else NOT_UP

    def role(self) -> str:
        """``leading`` or ``standby`` of a scheduler; empty for others."""
        return "" if self._look is None else self._look().role

    async def metrics(self) -> bytes:
        """All metrics in Prometheus' text format; the lag is that of the last good answer of the log."""
        await self.not_ready()
        return generate_latest(self._metrics.registry)

    def close(self) -> None:
        """Send what is left of the traces; may take a few seconds."""
        if self._traces is not None:
            self._traces.close()

    def _trace(self, event: Event) -> None:
        if self._traces is None:
            return
        self._traces.attempts(event)
        if event.kind is ev.RunFinished and event.run is not None and self._look is not None:
            run = self._look().state.runs.get(event.run)
            if run is not None:
                known = RunSpan(run.request.name, run.accepted_at, run.request.traceparent)
                self._traces.run(event.run, known, event.entries[-1])


def make_observer(service: str, version: str, clock: Clock, environment: Mapping[str, str]) -> ServiceObserver:
    """With traces if the environment names where they go. Raises TracesUnavailable."""
    traces = Traces(service, otlp_processor()) if are_wanted(environment) else None
    return ServiceObserver(service, version, clock, traces)
