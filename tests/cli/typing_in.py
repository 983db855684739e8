"""What tests of whole runs type and read."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ORCHESTRATOR = str(Path(sys.executable).parent / "orchestrator")
Result = subprocess.CompletedProcess[str]
Cli = Callable[..., Result]


def write(folder: Path, text: str, name: str = "plan.yaml") -> str:
    (folder / name).write_text(text)
    return name


def runs(cli: Cli) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli("list", "--json").stdout.splitlines() if line.startswith("{")]


def wait_for_state(cli: Cli, state: str) -> dict[str, Any]:
    """The newest run, once its state is this."""
    deadline = time.monotonic() + 30
    while (found := runs(cli)[0])["state"] != state:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "execution_summary.json").read_text())
    return found


def task_states(folder: Path) -> dict[str, str]:
    return {task["id"]: task["state"] for task in summary(folder)["tasks"]}


def executed(folder: Path) -> set[str]:
    """Tasks of the run with this output folder that had an attempt."""
    return {task["id"] for task in summary(folder)["tasks"] if task["attempts"]}
