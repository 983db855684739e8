"""Services as operators see them: real processes with a status port, scraped and probed while a run goes on."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from tests.chaos.plans import gate
from tests.observe.observed_site import SERVICES, ObservedSite

from pto_bus.limits import LOG_BYTES
from pto_proto.ids import RunId, TaskId, span_id, trace_id
from pto_proto.subjects import LEASE_STREAM, LOG_STREAM

pytestmark = pytest.mark.slow
ASKER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LEADS = (200, {"status": "ready", "role": "leading"})


class Collector(BaseHTTPRequestHandler):
    """Takes spans as an OTLP collector does."""

    spans: ClassVar[list[Span]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        asked = ExportTraceServiceRequest.FromString(body)
        self.spans.extend(s for r in asked.resource_spans for scope in r.scope_spans for s in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    Collector.spans.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(tmp_path: Path, collector: str) -> Iterator[ObservedSite]:
    running = ObservedSite(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector, OTEL_BSP_SCHEDULE_DELAY="200")
    yield running
    running.close()


def used_slots(site: ObservedSite) -> float:
    """As the scheduler shows it; 0 until it knows of the dispatcher."""
    return site.metrics("scheduler").get("pto_slots_used", {}).get(("dispatcher-local", "local"), 0)


def test_metrics_health_and_traces_of_a_run(site: ObservedSite, tmp_path: Path) -> None:
    site.start_all()
    plan = {
        "name": "watched",
        "tasks": [
            {"id": "good", "command": "echo fine > good.txt"},
            {"id": "bad", "command": "exit 3", "retries": 0, "depends_on": ["good"]},
        ],
    }
    run = site.run_plan(plan, traceparent=ASKER)

    site.wait_for(lambda: site.metrics("scheduler")["pto_log_lag_messages"] == {(): 0.0}, "a log that is read")
    scheduler, dispatcher = site.metrics("scheduler"), site.metrics("dispatcher-local")

    assert scheduler["pto_leading"] == {(): 1.0}
    assert scheduler["pto_runs_finished_total"] == {("partial",): 1.0}
    assert scheduler["pto_slots"][("dispatcher-local", "local")] == 16.0
    assert scheduler["pto_slots_used"][("dispatcher-local", "local")] == 0.0
    assert scheduler["pto_tasks_ready"][("local",)] == 0.0
    assert scheduler["pto_tick_seconds_count"][()] >= 3
    assert dispatcher["pto_attempts_finished_total"] == {
        ("", "local", "succeeded"): 1.0, ("task", "local", "failed"): 1.0,
    }  # fmt: skip
    assert dispatcher["pto_events_written_total"][("task-finished",)] >= 1
    spans = site.wait_for(lambda: len(Collector.spans) >= 5 and list(Collector.spans), "five spans")
    by_id = {span.span_id.hex(): span for span in spans}
    root = by_id[span_id(RunId(run), TaskId(""), 0)]
    assert {span.trace_id.hex() for span in spans} == {trace_id(RunId(run))}
    assert [link.trace_id.hex() for link in root.links] == [ASKER.split("-")[1]]
    for task, is_error in (("good", False), ("bad", True)):
        span = by_id[span_id(RunId(run), TaskId(task), 1)]
        assert span.parent_span_id.hex() == span_id(RunId(run), TaskId(""), 0)
        assert (span.status.code == 2) is is_error
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano


def test_readiness_follows_the_broker_and_liveness_does_not(site: ObservedSite) -> None:
    site.start_all()
    assert site.get("planner", "/readyz") == (200, {"status": "ready"})
    site.wait_for(lambda: site.get("scheduler", "/readyz") == LEADS, "a leader")  # it is up before it has the lease

    site.broker.stop()
    status, said = site.get("planner", "/readyz")
    assert (status, said["status"]) == (503, "not ready")
    assert "log does not answer" in said["reason"]
    assert site.get("planner", "/healthz") == (200, {"status": "ok"})

    site.restart_broker()
    site.wait_for(lambda: site.get("planner", "/readyz")[0] == 200, "readiness after the broker came back")


def test_a_log_that_answers_and_takes_nothing_makes_who_writes_unready(site: ObservedSite, tmp_path: Path) -> None:
    site.start_all()
    go = tmp_path / "go"
    site.run_plan({"name": "stuck", "tasks": [{"id": "a", "command": gate(go)}]}, is_followed=False)
    site.wait_for(lambda: used_slots(site) == 1, "a start")

    site.change(LOG_STREAM, max_bytes=1)
    go.touch()
    for writer in ("scheduler", "dispatcher-local"):  # one has a request to answer, the other an end to report
        if writer == "scheduler":
            site.run_plan({"name": "refused", "tasks": [{"id": "a", "command": "true"}]}, is_followed=False)
        site.wait_for(lambda name=writer: site.get(name, "/readyz")[0] == 503, f"{writer} to be unready")
        status, said = site.get(writer, "/readyz")
        assert (status, said["status"]) == (503, "not ready")
        assert "the log has taken nothing of what it writes for" in said["reason"]
        assert "maximum bytes" in said["reason"]
        assert site.get(writer, "/healthz")[0] == 200
    assert site.get("planner", "/readyz")[0] == 200, "it has nothing to write"

    site.change(LOG_STREAM, max_bytes=LOG_BYTES)
    for writer in ("scheduler", "dispatcher-local"):
        site.wait_for(lambda name=writer: site.get(name, "/readyz")[0] == 200, f"{writer} to be ready again")
    site.wait_for(lambda: sum(site.metrics("scheduler").get("pto_runs_finished_total", {}).values()) == 2, "both ends")

    site.change(LEASE_STREAM, max_msg_size=1)  # a scheduler notices without work, by the lease that it renews
    site.wait_for(lambda: "lease cannot be had" in site.get("scheduler", "/readyz")[1].get("reason", ""), "no lease")
    site.change(LEASE_STREAM, max_msg_size=-1)
    site.wait_for(lambda: site.get("scheduler", "/readyz") == LEADS, "the lease again")


def test_silent_dispatcher_shows_as_unknown_attempts(site: ObservedSite) -> None:
    site.start_all()
    site.run_plan({"name": "quiet", "tasks": [{"id": "long", "command": "sleep 300"}]}, is_followed=False)
    site.wait_for(lambda: used_slots(site) == 1, "a start")
    site.freeze("dispatcher-local")

    site.wait_for(lambda: site.metrics("scheduler")["pto_attempts_unknown"][()] == 1, "an unknown attempt", 40)
    time.sleep(1.1)
    assert site.metrics("scheduler")["pto_oldest_unknown_seconds"][()] >= 1.0


def test_every_metric_of_dashboard_and_alerts_is_one_of_ours(site: ObservedSite) -> None:
    site.start_all()
    site.run_plan({"name": "one", "tasks": [{"id": "good", "command": "true"}]})
    shown = set()
    for service in SERVICES:
        for family in text_string_to_metric_families(site.text(service)):
            shown |= {
                family.name,
                f"{family.name}_total",
                f"{family.name}_bucket",
                f"{family.name}_count",
                f"{family.name}_sum",
            }

    wanted = site.names_in_observe_files()

    assert len(wanted) > 10
    assert wanted - shown == set()


def test_port_that_is_taken_is_one_sentence(site: ObservedSite) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as taken:
        port = taken.server_port
        said = site.run_service_once("planner", PTO_HTTP=f"127.0.0.1:{port}", code=3)
    assert "PTO_HTTP: cannot listen on" in said
    assert json.dumps("Traceback")[1:-1] not in said


def test_metrics_page_is_what_it_says(site: ObservedSite) -> None:
    site.start("planner")
    site.wait_until_up("planner")
    with urllib.request.urlopen(site.address("planner") + "/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(site.address("planner") + "/nothing")
