"""A workbench for engines under test: the harness's rules and real processes, and a record of all that an engine does with it."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pto_harness import Cancel
from pto_harness.globs import matches
from pto_harness.paths import refused_path
from pto_harness.process import Command, run_command
from pto_ports.engine import AgentTask, AttemptLimits, Ended, EngineError, Spent
from pto_proto.ids import TaskId
from pto_proto.plans import TaskSpec

COMMANDS = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}


class Bench:
    """Checks are those of the spec, run at once in the workspace."""

    def __init__(
        self, folder: Path, spec: TaskSpec, max_cost_usd: float | None = None, workspace: Path | None = None
    ) -> None:
        self.workspace = workspace or folder / "workspace"
        self.scratch = folder / "scratch"
        self.cancel = Cancel()
        self.notes: list[str] = []
        self.kept = ""
        self.costs: list[Spent] = []
        self.programs: list[tuple[Sequence[str], dict[str, str]]] = []
        self.judged = 0
        self._spec = spec
        self._max_cost_usd = max_cost_usd
        self.workspace.mkdir(parents=True, exist_ok=True)

    def refusal(self, path: str) -> str:
        scope = self._spec.writes
        if reason := refused_path(path):
            return reason
        return "" if not scope or any(matches(glob, path) for glob in scope) else f"only {', '.join(scope)} may be"

    def run(
        self,
        command: str | Sequence[str],
        *,
        feed: Callable[[str, bytes], None],
        time_limit_s: float,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Ended:
        given = dict(COMMANDS if environment is None else environment)
        if not isinstance(command, str):
            self.programs.append((command, given))
        wanted = Command(
            command if isinstance(command, str) else list(command),
            str(self.workspace),
            given,
            time_limit_s=time_limit_s,
            stdin=stdin,
        )
        ended = run_command(wanted, feed, self.cancel)
        return Ended(ended.exit_code, ended.why)  # type: ignore[arg-type]

    def judge(self) -> str:
        self.judged += 1
        there = files(self.workspace)
        wrong = [
            f"output {glob} is missing" for glob in self._spec.outputs if not any(matches(glob, path) for path in there)
        ]
        for check in self._spec.checks:
            done = subprocess.run(
                check, shell=True, cwd=self.workspace, capture_output=True, text=True, env=COMMANDS, check=False
            )
            if done.returncode:
                wrong.append(f"the check {check!r} ended with exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return "\n".join(wrong)

    def now_s(self) -> float:
        return time.monotonic()

    def note(self, line: str) -> None:
        self.notes.append(line)

    def keep_notes(self, text: str) -> None:
        self.kept = text

    def spent(self, spent: Spent) -> None:
        self.costs.append(spent)
        if self._max_cost_usd is not None and (spent.cost_usd or 0) > self._max_cost_usd:
            raise EngineError("the run's money is spent", failure="budget")


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def agent_task(requirement: str = "Build a calculator", **fields: Any) -> AgentTask:
    """Fields of the spec, and ``limits``, ``notes`` and ``evidence``."""
    own = {name: fields.pop(name) for name in ("limits", "notes", "evidence") if name in fields}
    if isinstance(own.get("limits"), dict):
        own["limits"] = AttemptLimits(**own["limits"])
    spec = TaskSpec(**{"id": TaskId("calc"), "title": "Calculator", "agent": "Write it.", **fields})
    return AgentTask(requirement=requirement, spec=spec, **own)
