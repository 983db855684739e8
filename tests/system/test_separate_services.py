"""Services as processes of their own, asked by a bare NATS client; black box."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.ports import free_port
from tests.fakes.services import UP, UP_S, ServiceProcess, wait_until_up

from pto_bus.broker import Broker
from pto_bus.topology import single_host_accounts
from pto_proto.ids import LANE_LOCAL

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PASSWORD = "for-tests"
SERVICES = ("scheduler", "planner", "dispatcher-local", "consolidator")


class Site:
    """A broker and service processes in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker.start(folder / "store", single_host_accounts(PASSWORD, (LANE_LOCAL,)))
        self.environment = {
            **os.environ, "NATS_URL": self.broker.url, "PTO_PASSWORD": PASSWORD, "PTO_WORK_DIR": str(folder / "work/{run}"),
            "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder),
        }  # fmt: skip
        self.processes: dict[str, ServiceProcess] = {}
        self.run([str(BIN / "orchestrator"), "bootstrap", "--nats-url", self.broker.url], PTO_USER="bootstrap")

    def start(self, service: str) -> None:
        self.processes[service] = ServiceProcess(service, self.folder / f"{service}.log", env=self.environment)

    def start_all(self) -> None:
        for service in SERVICES:
            self.start(service)
        wait_until_up(self.processes.values())

    def run(self, command: list[str], *, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            command,
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def request(self, *words: str, code: int = 0) -> str:
        script = str(ROOT / "docs/examples/request.py")
        return self.run([sys.executable, script, *words], code=code, PTO_USER="requester")

    def orchestrator(self, *words: str, code: int = 0) -> str:
        return self.run([str(BIN / "orchestrator"), *words], code=code, PTO_USER="requester")

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(20)
        self.broker.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    yield running
    running.close()


@pytest.mark.slow
def test_a_bare_client_gets_the_same_project_as_the_command_line(site: Site, tmp_path: Path) -> None:
    site.start_all()
    said = site.request("Create a calculator function", "calc-request-1")
    assert "succeeded" in said
    site.orchestrator("fetch", "calc-request-1", "-o", "out/remote")
    environment = dict.fromkeys(("NATS_URL", "PTO_PASSWORD"), "")
    site.run([str(BIN / "orchestrator"), "Create a calculator function", "-m", "3", "-o", "out/local"], **environment)
    summaries = [
        json.loads((tmp_path / f"out/{name}/execution_summary.json").read_text()) for name in ("remote", "local")
    ]
    assert summaries[0]["tree_digest"] == summaries[1]["tree_digest"]
    assert summaries[0]["outcome_digest"] == summaries[1]["outcome_digest"]
    followed = site.run([sys.executable, str(ROOT / "docs/examples/subscribe.py"), "calc-request-1"], PTO_USER="viewer")
    lines = followed.splitlines()
    assert "RunAccepted" in lines[0]
    assert "RunFinished" in lines[-1]
    first = lines[len(lines) // 2].split()[0]
    again = site.run(
        [sys.executable, str(ROOT / "docs/examples/subscribe.py"), "calc-request-1", first], PTO_USER="viewer"
    )
    assert again.splitlines() == [line for line in lines if int(line.split()[0]) >= int(first)]


@pytest.mark.slow
def test_every_service_can_be_killed_while_a_run_goes_on(site: Site, tmp_path: Path) -> None:
    plan = {"name": "slow", "tasks": [{"id": f"t{i}", "command": f"sleep 0.3; echo {i} > t{i}.txt"} for i in range(12)]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    site.start_all()
    run = site.orchestrator(
        "run", "--plan", "plan.json", "-m", "3", "--detach", "--nats-url", site.broker.url, "-o", "out/killed"
    ).split()[-1]
    for service in SERVICES:
        time.sleep(0.4)
        site.processes[service].kill()
        site.processes[service].wait()
        site.start(service)
    site.broker.restart(kill=True)
    site.orchestrator("watch", run, "--nats-url", site.broker.url)
    site.orchestrator("fetch", run, "-o", "out/fetched")
    summary = json.loads((tmp_path / "out/fetched/execution_summary.json").read_text())
    assert summary["status"] == "succeeded"
    assert summary["counts"] == {"succeeded": 12}
    assert sorted(path.name for path in (tmp_path / "out/fetched/data").iterdir()) == sorted(
        f"t{i}.txt" for i in range(12)
    )


def until_shell(log: str, count: int, *texts: str) -> str:
    """A line of shell that waits until so many lines of the log hold one of these texts."""
    patterns = " ".join(f"-e '{text}'" for text in texts)
    loop = f"until test $(grep -c {patterns} {log}) -ge {count}; do sleep 0.05; done"
    return f"timeout {UP_S:g} bash -c {shlex.quote(loop)}"


@pytest.mark.slow
def test_the_how_to_works_as_written(tmp_path: Path) -> None:
    """The page's commands in one shell, on another port, with its last outputs checked."""
    text = (ROOT / "docs/howto/separate-services.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```sh")[1:]]
    script = "set -e\ntrap 'kill $(jobs -p); wait' EXIT\n" + "\n".join(blocks).replace("4222", str(free_port()))
    for step, log, lines in (
        ("nats-server -c nats.conf &", "nats.log", ("Server is ready",)),
        ("pto-scheduler & pto-planner & pto-dispatcher-local & pto-consolidator &", "services.log", UP),
    ):
        assert step in script
        script = script.replace(step, f"{{ {step} }} 2> {log}; {until_shell(log, step.count('&'), *lines)}")
    script = script.replace("docs/examples", f"{ROOT}/docs/examples")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path / "state")}
    for name in ("PTO_USER", "PTO_PASSWORD", "NATS_URL"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    logs = "".join(path.read_text()[-4000:] for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    summaries = [
        json.loads((tmp_path / "out" / name / "execution_summary.json").read_text())
        for name in ("calc", "calculator-1")
    ]
    assert {summary["status"] for summary in summaries} == {"succeeded"}
    assert len({summary["tree_digest"] for summary in summaries}) == 1
