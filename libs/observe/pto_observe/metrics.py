"""The metrics of one service as Prometheus has them: the one place that names them.

Imports core, ports, proto and prometheus-client. Invariants: a label never holds what a requester can choose freely
(run and task ids stay out of it); counting costs nothing but for messages that this process wrote itself.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pto_core.transitions import ENDED_PHASES, RunPhase
from pto_ports.clock import Clock
from pto_ports.observer import Look
from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import RunId

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Unknown = tuple[RunId, str, int, int]


class Metrics:
    """Counters and gauges of one service, in a registry of its own."""

    def __init__(self, service: str, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("pto_info", "Which service this is", ["service", "version"], registry=registry).labels(
            service, version
        ).set(1)
        self.up = Gauge("pto_up", "Whether the service has read its log to the head once", registry=registry)
        self.read = Counter("pto_events_read", "Messages read from the log", ["kind"], registry=registry)
        self.written = Counter("pto_events_written", "Messages stored in the log", ["kind"], registry=registry)
        self.lag = Gauge("pto_log_lag_messages", "Messages of its part of the log not read yet", registry=registry)
        self.append = Histogram(
            "pto_append_seconds", "From sending messages to their acknowledgement", buckets=SECONDS, registry=registry
        )
        self.unsettled = Counter(
            "pto_append_unsettled", "Appends that only reading the log settled", ["why"], registry=registry
        )
        self.tick = Histogram("pto_tick_seconds", "One round of a scheduler", buckets=SECONDS, registry=registry)
        self._finished = Counter(
            "pto_attempts_finished", "Attempts that this service ended", ["lane", "outcome", "failure"],
            registry=registry,
        )  # fmt: skip
        self._tokens = Counter("pto_tokens", "Tokens of models", ["kind"], registry=registry)
        self._cost = Counter("pto_cost_usd", "What models have cost, as far as known", registry=registry)
        self._cost_unknown = Counter("pto_cost_unknown", "Attempts whose cost nobody knows", registry=registry)
        self._jobs = Counter("pto_job_states", "Words of backends about jobs", ["lane", "state"], registry=registry)
        self._retries = Counter("pto_retries", "Retries that were scheduled", ["failure"], registry=registry)
        self._runs = Counter("pto_runs_finished", "Runs that ended", ["status"], registry=registry)

    def count_written(self, event: Event) -> None:
        """Count what this process has stored, entry by entry."""
        lane = event.lane or ""
        for entry in event.entries:
            if isinstance(entry, ev.TaskFinished):
                self._finished.labels(lane, entry.outcome, entry.failure or "").inc()
                for kind in entry.usage.__struct_fields__:
                    self._tokens.labels(kind).inc(getattr(entry.usage, kind))
                if entry.cost_usd is None:
                    self._cost_unknown.inc()
                else:
                    self._cost.inc(entry.cost_usd)
            elif isinstance(entry, ev.JobStateChanged):
                self._jobs.labels(lane, entry.state).inc()
            elif isinstance(entry, ev.TaskRetryScheduled):
                self._retries.labels(entry.failure).inc()
            elif isinstance(entry, ev.RunFinished):
                self._runs.labels(entry.status).inc()


COUNTED = frozenset(ev_kind for ev_kind in (ev.TaskFinished, ev.JobStateChanged, ev.TaskRetryScheduled, ev.RunFinished))
"""The types that ``count_written`` looks into."""


class StateMetrics(Collector):
    """Gauges over a scheduler's state, taken when they are asked for."""

    def __init__(self, look: Callable[[], Look], clock: Clock, unknown_since: dict[Unknown, int]) -> None:
        self._look = look
        self._clock = clock
        self._unknown_since = unknown_since

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: what there is depends on the state."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See the names."""
        state, role, _ = self._look()
        yield _one("pto_leading", "Whether this scheduler is the leader", float(role == "leading"))
        yield _one("pto_epoch", "The leader's epoch", state.epoch)
        yield _one("pto_log_sequence", "The last sequence that was folded", state.seq)
        runs = GaugeMetricFamily("pto_runs", "Open runs by phase", labels=["phase"])
        phases = dict.fromkeys((phase for phase in RunPhase if phase not in ENDED_PHASES), 0)
        ready: dict[str, int] = {}
        paused = 0
        unknown: set[Unknown] = set()
        for run in state.active.values():
            phases[run.phase] = phases.get(run.phase, 0) + 1
            paused += run.paused is not None
            for lane, ranks in run.ready.items():
                ready[lane] = ready.get(lane, 0) + len(ranks)
            unknown |= {(run.id, task.spec.id, task.round, task.attempt) for task in run.open.values() if task.unknown}
        for phase, count in phases.items():
            runs.add_metric([phase.value], count)
        yield runs
        yield _one("pto_runs_paused", "Open runs that wait for a person or a time", paused)
        waiting = GaugeMetricFamily("pto_tasks_ready", "Tasks that wait for a free place", labels=["lane"])
        slots = GaugeMetricFamily("pto_slots", "Places of an instance", labels=["lane", "dispatcher"])
        used = GaugeMetricFamily("pto_slots_used", "Attempts that are out", labels=["lane", "dispatcher"])
        rests = GaugeMetricFamily("pto_lane_resting", "Whether the lane takes nothing for now", labels=["lane"])
        for name, known in state.lanes.items():
            waiting.add_metric([name], ready.pop(name, 0))
            rests.add_metric([name], float(known.resting() is not None))
            for instance, announced in known.instances.items():
                slots.add_metric([name, instance], 0 if announced.draining else announced.capacity)
                used.add_metric([name, instance], known.in_use.get(instance, 0))
        for unannounced, count in ready.items():
            waiting.add_metric([unannounced], count)
        yield from (waiting, slots, used, rests)
        for gone in self._unknown_since.keys() - unknown:
            del self._unknown_since[gone]
        oldest = min((self._unknown_since.get(name, state.now) for name in unknown), default=None)
        yield _one("pto_attempts_unknown", "Attempts of which there is no news", len(unknown))
        age = 0.0 if oldest is None else max(0.0, (self._clock.now_ms() - oldest) / 1000)
        yield _one("pto_oldest_unknown_seconds", "Age of the oldest of them; 0: there is none", age)


def _one(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)
