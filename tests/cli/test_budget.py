"""``orchestrator budget RUN``: more executors for a run that goes on."""

import subprocess
from pathlib import Path

import pytest

from typing_in import ORCHESTRATOR, Cli, runs, summary, write

PLAN = """\
name: Two at once
tasks:
- {id: first, command: "until test -e $GO; do sleep 0.05; done", env: [GO]}
- {id: second, command: "touch $GO", env: [GO]}
"""


@pytest.mark.slow
def test_second_executor_frees_the_first(cli: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    """With one executor the first task would wait for ever for what the second one does."""
    environment["GO"] = str(tmp_path / "go")
    command = [ORCHESTRATOR, "run", "--plan", write(tmp_path, PLAN), "-o", "out", "-m", "1"]
    follower = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    assert any("first started" in line for line in follower.stdout)
    run = runs(cli)[0]["run"]
    said = cli("budget", run, "--max-cost", "1.5").stdout
    assert f"run {run} has at most 1 tasks at once from here on, and may cost $1.50 in all" in said
    assert f"run {run} has at most 2 tasks at once from here on" in cli("budget", run, "-m", "2").stdout
    said = follower.communicate(timeout=30)[0]
    assert follower.returncode == 0, said
    assert summary(tmp_path / "out")["counts"] == {"succeeded": 2}
    assert "has already ended as succeeded" in cli("budget", run, "-m", "2", code=2).stderr


def test_what_is_wrong_is_said_at_once(cli: Cli) -> None:
    assert "say what to change" in cli("budget", "some-run", code=2).stderr
    said = cli("budget", "some-run", "-m", "0", "--max-cost", "x", code=2).stderr
    assert "--max-executors: must be a whole number" in said
    assert "--max-cost: must be a sum" in said
