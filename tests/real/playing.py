"""Runs of the real command line against the fake Messages API: what is played, typed and read."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from fakes.messages_api import FakeMessagesApi, scenario_from, serving_in_thread

ROOT = Path(__file__).resolve().parents[2]
ORCHESTRATOR = str(Path(sys.executable).parent / "orchestrator")
TODO_LIST = ROOT / "tests/fakes/scenarios/todo_list.yaml"
REQUIREMENT = "Build a todo list with backend and frontend"
TASKS = {"store", "page", "server", "readme"}
KEY = "sk-canary-7f3a"
ACCESS_KEY = "AKIACANARY7F3A"
SECRET_KEY = "secret-canary-7f3a"
Api = FakeMessagesApi
Result = subprocess.CompletedProcess[str]
LIMIT_S = 120


def scenario(faults: Sequence[dict[str, Any]] = (), **changed: Any) -> dict[str, Any]:
    """The todo list, with faults."""
    found: dict[str, Any] = yaml.safe_load(TODO_LIST.read_text())
    return {**found, "faults": list(faults), **changed}


@contextmanager
def play(data: dict[str, Any]) -> Iterator[Api]:
    with serving_in_thread(scenario_from(data)) as api:
        yield api


def orchestrator(folder: Path, environment: dict[str, str], *words: str, code: int | None = 0) -> Result:
    result = subprocess.run(
        [ORCHESTRATOR, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert "Traceback" not in result.stderr, result.stderr
    assert code is None or result.returncode == code, (result.returncode, result.stdout, result.stderr)
    return result


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "execution_summary.json").read_text())
    return found


def attempts(out: Path) -> dict[str, int]:
    return {task["id"]: len(task["attempts"]) for task in summary(out)["tasks"]}


def entries(out: Path, kind: str) -> list[dict[str, Any]]:
    """The entries of the run's events of one type."""
    found = []
    for line in (out / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"].split(".")[1] == kind:
            found += event["data"]["entries"]
    return found


def run_name(out: str) -> str:
    """Of the first run that was spoken of."""
    return next(word for word in out.split() if word.startswith("build-a-todo-list-")).rstrip(":")


def own_tests(out: Path) -> Result:
    """The tests of the project that was built, by a Python that knows nothing of ours."""
    return subprocess.run(
        ["python3", "-B", "-m", "unittest", "discover", "-v", "-s", "tests"],
        cwd=out, env={"PYTHONPATH": "src", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
