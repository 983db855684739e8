"""The command line as a requester at somebody else's broker, with the services in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.services import ServiceProcess, wait_until_up

from pto_bus.broker import Broker
from pto_bus.topology import single_host_accounts
from pto_proto.ids import LANE_LOCAL

BIN = Path(sys.executable).parent
SERVICES = ("scheduler", "planner", "dispatcher-local", "consolidator")
PLAN = "name: Far\ntasks:\n- {id: a, command: 'cat in.txt; sleep 0.2; cp in.txt src/', checks: 'true'}\n"


class Site:
    """A broker that is set up, and commands that ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker.start(folder / "store", single_host_accounts("pw", (LANE_LOCAL,)))
        self.environment = {
            **os.environ, "NATS_URL": self.broker.url, "PTO_PASSWORD": "pw", "PTO_WORK_DIR": str(folder / "work/{run}"),
            "XDG_STATE_HOME": str(folder / "state"),
        }  # fmt: skip
        self.processes: list[ServiceProcess] = []

    def start_services(self) -> None:
        for service in SERVICES:
            self.processes.append(ServiceProcess(service, self.folder / f"{service}.log", env=self.environment))
        wait_until_up(self.processes)

    def cli(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        command, own = [str(BIN / "orchestrator"), *words], {**self.environment, **environment}
        done = subprocess.run(command, env=own, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(20)
        self.broker.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    yield running
    running.close()


def test_a_broker_that_is_not_set_up_or_not_ours_is_told(site: Site) -> None:
    assert "`orchestrator bootstrap` does that" in site.cli("list", code=3).stderr
    assert "check its password" in site.cli("list", code=3, PTO_PASSWORD="other").stderr
    site.cli("bootstrap")
    site.cli("bootstrap")
    assert site.cli("list", "--json").stdout == ""


def test_a_run_elsewhere_is_asked_for_followed_and_fetched(site: Site) -> None:
    site.cli("bootstrap")
    site.start_services()
    (site.folder / "in.txt").write_text("from here\n")
    (site.folder / "plan.yaml").write_text(
        PLAN.replace("cat in", "mkdir src; cat in").replace("}", ", inputs: in.txt}")
    )
    said = site.cli("run", "--plan", "plan.yaml", "-o", "out").stdout
    assert "a succeeded after" in said
    assert (site.folder / "out/src/in.txt").read_text() == "from here\n"
    (row,) = [json.loads(line) for line in site.cli("list", "--json").stdout.splitlines()]
    assert (row["name"], row["state"]) == ("Far", "succeeded")
    assert "from here" in site.cli("logs", row["run"], "a").stdout
    assert "succeeded after" in site.cli("status", row["run"]).stdout
    site.cli("fetch", row["run"], "-o", "again")
    digests = [
        json.loads((site.folder / at / "execution_summary.json").read_text())["tree_digest"] for at in ("out", "again")
    ]
    assert digests[0] == digests[1] != ""


def test_a_plan_elsewhere_waits_for_approval(site: Site) -> None:
    site.cli("bootstrap")
    site.start_services()
    (site.folder / "plan.yaml").write_text("tasks: [{id: a, noop: true}]")
    (site.folder / "mine.yaml").write_text("tasks: [{id: b, noop: true}, {id: c, noop: true, depends_on: b}]")

    def only() -> dict[str, str]:
        found: dict[str, str] = json.loads(site.cli("list", "--json").stdout.splitlines()[-1])
        return found

    said = site.cli("run", "--plan", "plan.yaml", "--approve", "-o", "out", code=4)
    first = only()
    assert first["state"] == "awaiting-approval"
    assert f"`orchestrator approve {first['run']} --nats-url URL`" in said.stderr
    assert "1 task in 1 level" in said.stdout
    assert not (site.folder / "out").exists()
    assert "waits for approval" in site.cli("resume", first["run"], code=4).stderr
    assert "is edited" in site.cli("approve", first["run"], "--edit", "mine.yaml").stdout
    assert "2 of 2 done" in site.cli("watch", first["run"]).stdout
    second = site.cli("run", "--plan", "plan.yaml", "--approve", "--detach", code=4).stdout.strip()
    deadline = time.monotonic() + 20
    while only()["state"] != "awaiting-approval" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "is rejected" in site.cli("approve", second, "--reject", "no").stdout
    assert "the plan was rejected: no" in site.cli("watch", second, code=1).stdout


def test_leaving_does_not_end_a_run_elsewhere(site: Site) -> None:
    site.cli("bootstrap")
    site.start_services()
    (site.folder / "plan.yaml").write_text(PLAN.replace("cat in.txt; sleep 0.2; cp in.txt src/", "sleep 30"))
    command = [str(BIN / "orchestrator"), "run", "--plan", "plan.yaml", "-o", "out"]
    process = subprocess.Popen(
        command, env=site.environment, cwd=site.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert any("a started" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "goes on: `orchestrator watch" in said
    assert not (site.folder / "out").exists()
    run = json.loads(site.cli("list", "--json").stdout)["run"]
    assert "is being cancelled" in site.cli("cancel", run).stdout
    site.cli("watch", run, code=1)
    assert run != site.cli("run", "--plan", "plan.yaml", "--detach").stdout.strip()


ABSENT = "waits for a dispatcher of lane slurm-default; none is up"


def test_a_run_whose_dispatcher_is_not_there_says_so(site: Site) -> None:
    site.cli("bootstrap")
    site.start_services()
    (site.folder / "plan.yaml").write_text("tasks: [{id: a, command: 'true', backend: slurm}]")
    run = site.cli("run", "--plan", "plan.yaml", "--detach").stdout.strip()
    deadline = time.monotonic() + 20
    while ABSENT not in site.cli("status", run).stdout and time.monotonic() < deadline:
        time.sleep(0.2)
    assert json.loads(site.cli("status", run, "--json").stdout)["absent_lanes"] == ["slurm-default"]
    assert "a dispatcher of lane slurm-default that can run it; there is none" in site.cli("explain", run, "a").stdout


@pytest.mark.slow
def test_who_follows_a_run_is_told_once_that_nobody_takes_it(site: Site) -> None:
    site.cli("bootstrap")
    site.start_services()
    (site.folder / "plan.yaml").write_text("tasks: [{id: a, command: 'true', backend: slurm}]")
    command = [str(BIN / "orchestrator"), "run", "--plan", "plan.yaml", "-o", "out"]
    process = subprocess.Popen(command, env=site.environment, cwd=site.folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(ABSENT in line for line in process.stdout)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    assert ABSENT not in process.communicate(timeout=30)[0]


@pytest.mark.slow
def test_without_a_scheduler_one_is_told_and_the_request_waits(site: Site) -> None:
    site.cli("bootstrap")
    (site.folder / "plan.yaml").write_text("tasks: [{id: a, noop: true}]")
    said = site.cli("run", "--plan", "plan.yaml", "--detach", code=3).stderr
    assert "nobody answered" in said
    site.start_services()
    deadline = time.monotonic() + 20
    while '"succeeded"' not in site.cli("list", "--json").stdout and time.monotonic() < deadline:
        time.sleep(0.3)
    assert '"succeeded"' in site.cli("list", "--json").stdout
