"""``orchestrator pause RUN`` and ``resume``: nothing more is handed out, what runs goes on, whoever follows stays."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from typing_in import ORCHESTRATOR, Cli, runs, summary, write

PLAN = """\
name: Steps
tasks:
- {id: first, command: "until test -e $GO; do sleep 0.05; done; echo 1 > first.txt", env: [GO]}
- {id: then, command: "echo 2 > then.txt", depends_on: first}
"""
PATIENCE_S = 30.0


@pytest.fixture
def go(tmp_path: Path, environment: dict[str, str]) -> Path:
    environment["GO"] = str(tmp_path / "go")
    return tmp_path / "go"


def wait_for(cli: Cli, run: str, task: str, state: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status = json.loads(cli("status", run, "--json").stdout)
        if {found["id"]: found["state"] for found in status["tasks"]}.get(task) == state:
            return
    raise AssertionError(status)


@pytest.mark.slow
def test_what_runs_goes_on_and_nothing_more_starts(
    cli: Cli, tmp_path: Path, environment: dict[str, str], go: Path
) -> None:
    command = [ORCHESTRATOR, "run", "--plan", write(tmp_path, PLAN), "-o", "out"]
    follower = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    assert any("first started" in line for line in follower.stdout)
    run = runs(cli)[0]["run"]
    assert f"run {run} is paused; what runs goes on" in cli("pause", run, "--reason", "lunch").stdout
    assert "is paused already: lunch" in cli("pause", run, code=2).stderr
    go.touch()
    wait_for(cli, run, "first", "succeeded")
    assert json.loads(cli("status", run, "--json").stdout)["state"] == "running, paused"
    assert "waits for the run, which is paused (asked): lunch" in cli("explain", run, "then").stdout
    assert follower.poll() is None
    assert f"--max-executors: run {run} is paused" in cli("resume", run, "-m", "2", code=2).stderr
    assert "--max-cost: must be a sum" in cli("resume", run, "--max-cost", "x", code=2).stderr
    said_of_resume = cli("resume", run, "--max-cost", "2.5").stdout
    assert f"run {run} may cost $2.50 in all" in said_of_resume
    assert f"run {run} goes on" in said_of_resume
    said = follower.communicate(timeout=PATIENCE_S)[0]
    assert follower.returncode == 0
    assert "paused (asked): lunch" in said
    assert summary(tmp_path / "out")["counts"] == {"succeeded": 2}
    assert summary(tmp_path / "out")["max_cost_usd"] == 2.5
    assert f"run {run} has already ended as succeeded" in cli("pause", run, code=2).stderr


def test_a_run_that_nobody_hosts_cannot_be_paused_and_is_told_so(cli: Cli, tmp_path: Path, go: Path) -> None:
    run = cli("run", "--plan", write(tmp_path, PLAN), "--detach", "-o", "out").stdout.strip()
    wait_for(cli, run, "first", "running")
    endpoint = json.loads((tmp_path / "state/parallel-orchestrator/runs" / run / "endpoint.json").read_text())
    os.kill(endpoint["pid"], signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while runs(cli)[0]["state"] != "interrupted" and time.monotonic() < deadline:
        time.sleep(0.1)
    said = cli("pause", run, code=2).stderr
    assert said == (
        f"orchestrator: nobody hosts run {run} just now, so nothing of it is handed out; `orchestrator resume {run}` "
        "goes on with it\n"
    )
    assert "attempt 1 was out when the run was interrupted" in cli("explain", run, "first").stdout
    assert f"waits for somebody to host the run: `orchestrator resume {run}`" in cli("explain", run, "then").stdout
    go.touch()
    assert "from here on at most 5 at once, $1.50 in all" in cli("resume", run, "--max-cost", "1.5").stdout
    assert summary(tmp_path / "out")["max_cost_usd"] == 1.5
