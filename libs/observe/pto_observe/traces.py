"""Traces by OpenTelemetry: a run is a trace, an attempt a span of it, under ids that follow from their names.

Imports proto and, when it is told to export, the OpenTelemetry SDK. The ids are those of ``pto_proto.ids``, so that
every service, started again or not, means the same span; whoever asked for the run is linked, not the parent, because a
run outlives a request. Invariant: what cannot be exported is dropped, and nothing waits for it.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from pto_proto import events as ev
from pto_proto.envelope import Event
from pto_proto.ids import RunId, TaskId, span_id, trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of the OpenTelemetry specification: where spans are sent by HTTP; without them there are none."""
EXTRA = "otel"
ROOT = TaskId("")
_NS_PER_MS = 1_000_000
_FLAGS = 1


class RunSpan(NamedTuple):
    """What is known about a run when it ends."""

    name: str
    began_at: int
    """Unix ms."""
    traceparent: str = ""


class TracesUnavailable(Exception):
    """Spans are wanted and cannot be sent; the message says what to do."""


def are_wanted(environment: Mapping[str, str]) -> bool:
    """Whether an exporter is configured."""
    return any(environment.get(name) for name in ENDPOINTS)


def otlp_processor() -> "SpanProcessor":
    """Sends spans in the background, as the usual variables say. Raises TracesUnavailable."""
    if find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        raise TracesUnavailable(
            f"traces need the extra '{EXTRA}', which is not installed; "
            f"pip install 'parallel-task-orchestrator[{EXTRA}]'"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


class Traces:
    """Makes spans of what one service stored."""

    def __init__(self, service: str, processor: "SpanProcessor") -> None:
        from opentelemetry.sdk.resources import Resource

        self._processor = processor
        self._resource = Resource.create({"service.name": f"pto-{service}"})

    def attempts(self, event: Event) -> None:
        """The spans of attempts that ended."""
        if event.kind is ev.TaskFinished and event.run is not None:
            for entry in event.entries:
                self._attempt(event.run, event.lane or "", entry)

    def run(self, run: RunId, known: RunSpan, finished: ev.RunFinished) -> None:
        """The root span of a run that ended."""
        from opentelemetry.trace import Link

        asked_by = _parse(known.traceparent)
        self._end(
            known.name or run,
            _context(run, ROOT, 0),
            None,
            (known.began_at * _NS_PER_MS, finished.at * _NS_PER_MS),
            {"pto.run": run, "pto.status": finished.status},
            is_error=finished.status not in ("succeeded", "partial"),
            links=[Link(asked_by)] if asked_by is not None else [],
        )

    def close(self) -> None:
        """Send what is left; waits a few seconds at most."""
        self._processor.shutdown()

    def _attempt(self, run: RunId, lane: str, entry: ev.TaskFinished) -> None:
        until = entry.at * _NS_PER_MS
        attributes: dict[str, Any] = {
            "pto.run": run, "pto.task": entry.task, "pto.attempt": entry.attempt, "pto.round": entry.round,
            "pto.lane": lane, "pto.instance": entry.instance, "pto.outcome": entry.outcome,
        }  # fmt: skip
        if entry.failure is not None:
            attributes |= {"pto.failure": entry.failure, "pto.reason": entry.reason}
        self._end(
            entry.task,
            _context(run, entry.task, entry.attempt),
            _context(run, ROOT, 0),
            (until - int(entry.duration_s * 1e9), until),
            attributes,
            is_error=entry.outcome == "failed",
        )

    def _end(
        self,
        name: str,
        context: "SpanContext",
        parent: "SpanContext | None",
        times: tuple[int, int],
        attributes: Mapping[str, Any],
        *,
        is_error: bool,
        links: Any = (),
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                attributes,
                links=links,
                status=Status(StatusCode.ERROR if is_error else StatusCode.OK),
                start_time=times[0],
                end_time=times[1],
            )
        )


def _context(run: RunId, task: TaskId, attempt: int) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        int(trace_id(run), 16), int(span_id(run, task, attempt), 16), is_remote=False, trace_flags=TraceFlags(_FLAGS)
    )


def _parse(traceparent: str) -> "SpanContext | None":
    """W3C ``00-<trace>-<span>-<flags>``; None if it is none."""
    from opentelemetry.trace import SpanContext

    parts = traceparent.split("-")
    try:
        context = SpanContext(int(parts[1], 16), int(parts[2], 16), is_remote=True)
    except (IndexError, ValueError):
        return None
    return context if context.is_valid else None
