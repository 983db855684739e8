"""Does what the orchestrator does with a plan, without the orchestrator: workspaces, checks, merge."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fakes.workbench import Bench

from pto_engines.simulated import SimulatedExecutor
from pto_ports.engine import AgentTask
from pto_proto.plans import Plan, TaskSpec

HOSTILE = "[pytest]\ntestpaths = nowhere\npython_files = nothing_*.py\naddopts = --strict-config -p no:unittest\n"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def ancestors(plan: Plan, spec: TaskSpec) -> Iterator[TaskSpec]:
    """The task's ancestors, in the order of the plan."""
    wanted = set(spec.depends_on)
    for other in reversed(plan.tasks):
        if other.id in wanted:
            wanted |= set(other.depends_on)
    return (other for other in plan.tasks if other.id in wanted)


def simulate(requirement: str, spec: TaskSpec, workspace: Path) -> None:
    """The task at a bench that accepts anything."""
    bench = Bench(workspace, TaskSpec(id=spec.id), workspace=workspace)
    SimulatedExecutor().execute(AgentTask(requirement=requirement, spec=spec), bench)


def execute(requirement: str, plan: Plan, folder: Path, checked: bool = True) -> None:
    """Each task in its own workspace that holds the outputs of its ancestors only; keeps outputs in ``folder/<task>``."""
    for spec in plan.tasks:
        workspace = folder / "work" / spec.id
        workspace.mkdir(parents=True)
        for other in ancestors(plan, spec):
            shutil.copytree(folder / other.id, workspace, dirs_exist_ok=True)
        before = files(workspace)
        simulate(requirement, spec, workspace)
        after = files(workspace)
        made = {path for path, digest in after.items() if before.get(path) != digest}
        assert made == set(spec.outputs) == set(spec.writes)
        for path in spec.outputs:
            target = folder / spec.id / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(workspace / path, target)
        if checked:
            check(spec.checks, workspace)
            assert files(workspace) == after, "checks leave nothing behind"


def check(commands: tuple[str, ...], folder: Path) -> None:
    """Run shell commands in a folder, each with a clean environment."""
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def merge(plan: Plan, folder: Path) -> Path:
    """The output folder: the merged tree and the raw outputs, below a folder with a hostile configuration."""
    outer = folder / "outer"
    merged = outer / "out"
    for index, spec in enumerate(plan.tasks):
        shutil.copytree(folder / spec.id, merged, dirs_exist_ok=True)
        shutil.copytree(folder / spec.id, merged / f"executor_{index % 2}" / f"{spec.id}.1")
    (outer / "pytest.ini").write_text(HOSTILE)
    (outer / "conftest.py").write_text("raise RuntimeError('the conftest of the outer project was loaded')\n")
    return merged


def run_pytest(merged: Path, plugins: bool = True) -> int:
    """Run the project's tests as a user would, with or without the plugins that are installed; how many passed."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = ENVIRONMENT if plugins else {**ENVIRONMENT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=merged, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.strip().splitlines()[-1]
    assert "failed" not in summary
    assert "error" not in summary
    return int(summary.split(" passed")[0].split()[-1])


def files(folder: Path) -> dict[str, str]:
    """All files with their digests."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
