"""Records the histories of this version: ``python -m tests.upgrade.record`` before a release.

Runs the command line, reads the whole log of each run's store, and writes it as JSON lines with what the runs came to.
Invariant: a folder that exists is never overwritten; what was released once replays for ever.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from pto_cli.access import host_run
from pto_cli.registry import all_runs
from pto_ports.event_log import Recorded

HISTORIES = Path(__file__).parent / "histories"
ORCHESTRATOR = Path(sys.executable).parent / "orchestrator"
MIXED = {
    "name": "mixed",
    "tasks": [
        {"id": "fetch", "command": "echo data > data.txt", "outputs": ["data.txt"]},
        {"id": "flaky", "command": 'test "$PTO_ATTEMPT" -gt 1 && echo ok > flaky.txt', "depends_on": ["fetch"]},
        {"id": "broken", "command": "echo no luck >&2; exit 3", "retries": 0, "depends_on": ["fetch"]},
        {"id": "below", "noop": True, "depends_on": ["broken"]},
        {"id": "each", "matrix": {"n": [1, 2, 3]}, "command": "cat data.txt > each-${matrix.n}.txt", "depends_on": ["fetch"]},
        {"id": "all", "noop": True, "depends_on": ["each", "flaky"]},
    ],
}  # fmt: skip
SLOW = {
    "name": "slow",
    "tasks": [{"id": "long", "command": "sleep 60"}, {"id": "next", "noop": True, "depends_on": ["long"]}],
}


def main() -> None:
    """Record all histories of the installed version."""
    target = HISTORIES / version("parallel-task-orchestrator")
    if target.exists():
        sys.exit(f"{target.name} is recorded already; histories are never overwritten")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        _make_runs(folder)
        target.mkdir(parents=True)
        for number, run in enumerate(all_runs(), 1):
            note = run.read_note()
            assert note is not None
            lines = [_line(recorded) for recorded in asyncio.run(_read_log(run.path.name, folder))]
            name = f"{number}-{note.run.rpartition('-')[0]}-{note.state}"
            (target / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
            sys.stdout.write(f"{name}: {len(lines)} messages\n")


def _make_runs(folder: Path) -> None:
    for plan in (MIXED, SLOW):
        (folder / f"{plan['name']}.json").write_text(json.dumps(plan))
    _orchestrator(folder, "Build a todo list with backend and frontend", "-m", "3", "-o", "todo")
    _orchestrator(folder, "--plan", "mixed.json", "-m", "2", "-o", "mixed")
    mixed = next(run.path.name for run in all_runs() if (note := run.read_note()) and note.name == "mixed")
    _orchestrator(folder, "resume", mixed)
    slow = _orchestrator(folder, "--plan", "slow.json", "--detach", "-o", "slow").split()[-1]
    _orchestrator(folder, "cancel", slow)
    _orchestrator(folder, "watch", slow)


def _orchestrator(folder: Path, *words: str) -> str:
    done = subprocess.run([ORCHESTRATOR, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{words}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


async def _read_log(run: str, folder: Path) -> list[Recorded]:
    found = next(known for known in all_runs() if known.path.name == run)
    access = await host_run(found, work_dir=folder, capacity=1, with_services=False)
    try:
        return await access.session.view.read_run(">")
    finally:
        await access.close()


def _line(recorded: Recorded) -> str:
    return json.dumps({"seq": recorded.seq, "subject": recorded.subject, "data": json.loads(recorded.data)})


if __name__ == "__main__":
    main()
