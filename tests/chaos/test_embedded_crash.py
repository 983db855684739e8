"""Runs that bring their own broker, killed whole and picked up again, by one command or by several at once."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .plans import APPEND, TRACE, gate
from .processes import embedded_environment, ended, processes_with, start_command, wait_for_one

TASKS = 1000
PATIENCE_S = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose processes are ended with the test."""
    (tmp_path / "trace").touch()
    yield tmp_path
    for pid in processes_with(str(tmp_path)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def environment(folder: Path) -> dict[str, str]:
    return embedded_environment(folder, **{TRACE: str(folder / "trace")})


def write_plan(folder: Path, count: int, sleep_s: float, *more: dict[str, str]) -> None:
    tasks = [{"id": f"t{i}", "command": f"sleep {sleep_s}; {APPEND}", "env": [TRACE]} for i in range(count)]
    (folder / "plan.json").write_text(json.dumps({"name": "crash", "tasks": [*tasks, *more]}))


def lines(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "trace").read_text().splitlines()]


def wait_for_lines(folder: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(lines(folder)) < count:
        assert time.monotonic() < deadline, f"only {len(lines(folder))} of {count} lines came"
        time.sleep(0.02)


def kill_run(folder: Path, executors: int, after: int) -> str:
    """Start the plan in this process group, kill all of it when so many tasks have left a trace; the run's id."""
    process = start_command(
        folder, environment(folder), "run", "--plan", "plan.json", "-m", str(executors), "-o", "out", "-q"
    )
    wait_for_lines(folder, after)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + PATIENCE_S
    while list(processes_with(str(folder))):
        assert time.monotonic() < deadline, "something survived the end of its command"
        time.sleep(0.05)
    return next((folder / "state/parallel-orchestrator/runs").iterdir()).name


def events(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """(kind, entry) of the run's whole log, from its output folder."""
    for line in (folder / "out/events.jsonl").read_text().splitlines():
        event = json.loads(line)
        for entry in event["data"]["entries"]:
            yield event["type"].split(".")[1], entry


@pytest.mark.slow
def test_no_finished_task_is_redone_after_everything_was_killed(folder: Path) -> None:
    """SIGKILL to the command with its broker and services at half of 1,000 tasks, then ``resume``: whatever had
    finished by the log runs no second time, and only what was running at the kill leaves a second line.
    """
    write_plan(folder, TASKS, 0.0)
    run = kill_run(folder, 8, TASKS // 2)
    before = Counter(words[1] for words in lines(folder))
    code, said = ended(start_command(folder, environment(folder), "resume", run, "-q"), PATIENCE_S)
    assert code == 0, said
    after = Counter(words[1] for words in lines(folder))
    assert len(after) == TASKS
    first_success: dict[str, int] = {}
    for kind, entry in events(folder):
        task, attempt = str(entry.get("task", "")), int(str(entry.get("attempt", 0)))
        if kind == "TaskFinished" and entry["outcome"] == "succeeded":
            first_success.setdefault(task, attempt)
        elif kind == "TaskReady":
            assert task not in first_success, f"{task} was handed out again after it had succeeded"
    runs = Counter((words[1], words[2]) for words in lines(folder))
    assert max(runs.values()) == 1, "an attempt was started twice"
    redone = [task for task, count in after.items() if count > 1]
    print(f"\nkilled with {len(before)} of {TASKS} traces; {len(redone)} tasks that were running then ran again")
    assert all(first_success[task] > 1 for task in redone)
    assert len(redone) <= 8, "more than what was running at the kill was done again"


@pytest.mark.slow
def test_two_commands_that_resume_one_run_do_it_once(folder: Path) -> None:
    """At the same moment: one hosts the run to its end; the other leaves with one sentence, or finds it hosted."""
    write_plan(folder, 60, 0.1, {"id": "gate", "command": gate(folder / "gate")})
    run = kill_run(folder, 4, 20)
    both = [start_command(folder, environment(folder), "resume", run, "-q") for _ in range(2)]
    wait_for_one(*both)
    (folder / "gate").touch()
    results = sorted(ended(process, PATIENCE_S) for process in both)
    assert results[0][0] == 0, results
    assert results[1][0] in (2, 3), results
    assert_one_sentence(results[1][1])
    seen = Counter((words[1], words[2]) for words in lines(folder))
    assert max(seen.values()) == 1
    assert len({words[1] for words in lines(folder)}) == 60


@pytest.mark.slow
def test_a_cancel_beside_a_resume_is_settled_by_one_of_them(folder: Path) -> None:
    """At the same moment: the one that comes first has the run; a cancel that says 0 is a run that is cancelled."""
    write_plan(folder, 200, 0.2)
    run = kill_run(folder, 4, 10)
    resuming = start_command(folder, environment(folder), "resume", run, "-q")
    cancelling = start_command(folder, environment(folder), "cancel", run)
    cancel_code, cancel_said = ended(cancelling, PATIENCE_S)
    resume_code, resume_said = ended(resuming, PATIENCE_S)
    print(f"\ncancel: {cancel_code} {cancel_said!r}\nresume: {resume_code} {resume_said!r}")
    assert_one_sentence(cancel_said)
    if cancel_code == 0:
        _, said = ended(start_command(folder, environment(folder), "status", run), PATIENCE_S)
        assert "cancelled" in said, said
        assert resume_code in (0, 1, 2, 3), resume_said  # 0: after the cancel, it went on in a new run
    else:
        assert cancel_code in (2, 3), cancel_said
        assert resume_code == 0, resume_said
    assert "Traceback" not in cancel_said + resume_said


def assert_one_sentence(said: str) -> None:
    words = [line for line in said.splitlines() if line.strip()]
    assert len(words) == 1, said
    assert "Traceback" not in said
