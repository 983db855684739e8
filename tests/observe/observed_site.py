"""A site whose services have a status port, and what operators do with it: scrape and probe."""

import asyncio
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from tests.chaos.asking import Requester
from tests.chaos.sites import PASSWORD, Service, Site
from tests.chaos.sites import SERVICES as CHAOS_SERVICES
from tests.fakes.ports import free_port

from pto_bus.connect import connect
from pto_proto.plans import Plan

SERVICES = tuple(service.name for service in CHAOS_SERVICES)
OBSERVE = Path(__file__).resolve().parents[2] / "deploy/observe"
HOW_TO = OBSERVE.parents[1] / "docs/howto/observe.md"
NAME = re.compile(r"\bpto_[a-z_]+")
T = TypeVar("T")


class ObservedSite(Site):
    """Waits for its services, and reads what they show."""

    def __init__(self, folder: Path, **variables: str) -> None:
        super().__init__(folder)
        self.variables |= variables
        self.ports = {service.name: free_port() for service in CHAOS_SERVICES}
        self._runs = 0
        asyncio.run(self.set_up())

    def environment(self, user: str, folder: Path) -> dict[str, str]:
        watched = {"PTO_HTTP": f"127.0.0.1:{self.ports[user]}"} if user in self.ports else {}
        return {**watched, **super().environment(user, folder)}

    def start(self, service: Service | str, *, folder: str = "") -> Any:
        known = {each.name: each for each in CHAOS_SERVICES}
        return super().start(known[service] if isinstance(service, str) else service, folder=folder)

    def start_all(self, services: tuple[Service, ...] = CHAOS_SERVICES) -> None:
        super().start_all(services)
        for service in services:
            self.wait_until_up(service.name)

    def wait_until_up(self, service: str) -> None:
        self.wait_for(lambda: self.get(service, "/readyz")[0] == 200, f"{service} to be ready")

    def restart_broker(self) -> None:
        self.broker.restart()

    def change(self, stream: str, **settings: int) -> None:
        """Give a stream other settings; the broker lets a limit be below what is stored."""

        async def update() -> None:
            connection = await connect(self.url, user="bootstrap", password=PASSWORD)
            try:
                config = (await connection.api(f"STREAM.INFO.{stream}"))["config"]
                await connection.api(f"STREAM.UPDATE.{stream}", {**config, **settings})
            finally:
                await connection.close()

        asyncio.run(update())

    def address(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def get(self, service: str, path: str) -> tuple[int, dict[str, str]]:
        """(status, what it said); 0: nobody listens."""
        try:
            with urllib.request.urlopen(self.address(service) + path, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def text(self, service: str) -> str:
        with urllib.request.urlopen(self.address(service) + "/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def metrics(self, service: str) -> dict[str, dict[tuple[str, ...], float]]:
        """Sample name -> label values, in the labels' order by name -> value."""
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(self.text(service)):
            for sample in family.samples:
                labels = tuple(sample.labels[name] for name in sorted(sample.labels))
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def run_plan(self, plan: dict[str, Any], *, traceparent: str = "", is_followed: bool = True) -> str:
        """Ask for a run of this plan; returns its id, when it has ended."""
        self._runs += 1
        run = f"watched-{self._runs}"

        async def ask() -> None:
            requester = await Requester.open(self)
            try:
                await requester.run(run, msgspec.convert(plan, Plan), executors=4, traceparent=traceparent)
            finally:
                await requester.close()

        asyncio.run(ask())
        if is_followed:
            self.wait_for(
                lambda: sum(self.metrics("scheduler").get("pto_runs_finished_total", {}).values()) >= 1, "the run's end"
            )
        return run

    def run_service_once(self, service: str, *, code: int, **variables: str) -> str:
        environment = {**self.environment(service, self.folder / service), **variables}
        done = subprocess.run(
            [f"pto-{service}"], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    def wait_for(self, condition: Callable[[], T], what: str, timeout_s: float = 30.0) -> T:
        until = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < until, f"{what} did not happen within {timeout_s:g} s\n{self.logs()}"
            time.sleep(0.1)
        return found

    def names_in_observe_files(self) -> set[str]:
        """Every metric that dashboard and alerts name."""
        return {
            name
            for path in OBSERVE.iterdir()
            if path.suffix in (".json", ".yml")
            for name in NAME.findall(path.read_text())
        }
