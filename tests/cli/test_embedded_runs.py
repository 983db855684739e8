"""Whole runs through the command line: what people type, see and find afterwards."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from typing_in import ORCHESTRATOR, Cli, runs, summary, wait_for_state, write

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"

NOOP = "name: One\ntasks:\n- {id: a, noop: true}\n"
LONG = """\
name: Long
tasks:
- {id: quick, command: "echo quick > quick.txt", outputs: quick.txt}
- {id: slow, command: "sleep 2.5; echo slow > slow.txt", depends_on: quick}
"""


def test_a_noop_run_is_quick_and_leaves_its_output(cli: Cli, tmp_path: Path) -> None:
    plan = write(tmp_path, NOOP)
    took = []
    for at in range(2):
        began = time.monotonic()
        cli("run", "--plan", plan, "-o", f"out{at}")
        took.append(time.monotonic() - began)
    if os.getloadavg()[0] < (os.cpu_count() or 1):  # a busy machine says nothing about us
        assert min(took) < 1.5
    assert summary(tmp_path / "out0")["status"] == "succeeded"
    (first, second) = runs(cli)
    assert first.keys() == {"run", "name", "state", "created", "output_dir"}
    assert (first["name"], first["state"], first["output_dir"]) == ("One", "succeeded", str(tmp_path / "out0"))
    assert first["run"] != second["run"]


def test_default_output_folders_never_collide(cli: Cli, tmp_path: Path) -> None:
    plan = write(tmp_path, NOOP)
    cli("run", "--plan", plan, "-q")
    cli("run", "--plan", plan, "-q")
    assert sorted(path.name for path in (tmp_path / "outputs/parallel-orchestrator").iterdir()) == ["one", "one-2"]


def test_force_keeps_the_old_content_aside(cli: Cli, tmp_path: Path) -> None:
    plan = write(tmp_path, NOOP)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "not empty" in cli("run", "--plan", plan, "-o", "out", code=2).stderr
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "mine.txt"]
    cli("run", "--plan", plan, "-o", "out", "--force")
    assert (tmp_path / "out.old" / "mine.txt").read_text() == "mine"
    assert summary(tmp_path / "out")["status"] == "succeeded"


def test_a_failed_task_is_told_with_its_last_words(cli: Cli, tmp_path: Path) -> None:
    text = (
        "tasks:\n- {id: bad, command: 'echo oh no >&2; exit 3', retries: 0}\n- {id: after, noop: true, depends_on: bad}"
    )
    result = cli("run", "--plan", write(tmp_path, text), "-o", "out", code=1)
    assert "bad failed (attempt 1): " in result.stderr
    assert "    oh no" in result.stderr
    assert summary(tmp_path / "out")["counts"] == {"failed": 1, "skipped": 1}


def test_a_run_whose_output_was_not_delivered_can_be_resumed(cli: Cli, tmp_path: Path) -> None:
    """As when the command is killed, or the disk is full, between the end of the run and that of the command."""
    in_the_way = tmp_path / "out" / "execution_summary.json"
    plan = write(tmp_path, f"tasks:\n- {{id: a, command: 'mkdir -p {in_the_way}/x; echo a > a.txt', outputs: a.txt}}")
    assert "Is a directory" in cli("run", "--plan", plan, "-o", "out", code=3).stderr
    (run,) = runs(cli)
    assert run["state"] == "interrupted"
    shutil.rmtree(in_the_way)
    cli("resume", run["run"])
    assert [task["attempts"][-1]["attempt"] for task in summary(tmp_path / "out")["tasks"]] == [1]
    assert runs(cli)[0]["state"] == "succeeded"
    assert "nothing left to do" in cli("resume", run["run"]).stdout
    note = next(tmp_path.rglob("run.json"))
    os.utime(note, (1, 1))
    cli("fetch", run["run"], "-o", "elsewhere")
    assert note.stat().st_mtime == 1, "a run is not younger for having been fetched"


def test_json_lines_are_the_log_and_the_summary(cli: Cli, tmp_path: Path) -> None:
    lines = cli("run", "--plan", write(tmp_path, NOOP), "--json", "-o", "out").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0]["type"] == "pto.RunAccepted.v1"
    assert events[-2]["type"] == "pto.RunFinished.v1"
    assert events[-1]["summary"] == summary(tmp_path / "out")
    run = runs(cli)[0]["run"]
    assert cli("events", run, "--json").stdout.splitlines() == lines[:-1]
    assert (tmp_path / "out" / "events.jsonl").read_text().splitlines() == lines[:-1]


def test_a_closed_pipe_ends_quietly(cli: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    cli("run", "--plan", write(tmp_path, NOOP), "-q")
    run = runs(cli)[0]["run"]
    pipe = f"{ORCHESTRATOR} events {run} --json | head -1"
    result = subprocess.run(["bash", "-c", pipe], env=environment, capture_output=True, text=True, timeout=30)
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_ctrl_c_says_how_to_go_on_and_resume_repeats_nothing(
    cli: Cli, tmp_path: Path, environment: dict[str, str]
) -> None:
    words = [ORCHESTRATOR, "run", "--plan", write(tmp_path, LONG), "-o", "out"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "slow started" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    (run,) = runs(cli)
    assert run["state"] == "interrupted"
    assert said == f"orchestrator: interrupted; `orchestrator resume {run['run']}` picks it up\n"
    assert "nobody hosts this run" in cli("status", run["run"]).stdout
    cli("resume", run["run"])
    tasks = {task["id"]: len(task["attempts"]) for task in summary(tmp_path / "out")["tasks"]}
    assert tasks == {"quick": 1, "slow": 2}
    assert runs(cli)[0]["state"] == "succeeded"
    assert "nothing left to do" in cli("resume", run["run"]).stdout
    assert len(runs(cli)) == 1


def test_a_detached_run_is_seen_and_stopped_by_other_commands(cli: Cli, tmp_path: Path) -> None:
    run = cli("run", "--plan", write(tmp_path, LONG.replace("2.5", "60")), "--detach", "-o", "out").stdout.strip()
    assert wait_for_state(cli, "running") | {"created": ""} == {
        "run": run, "name": "Long", "state": "running", "created": "", "output_dir": str(tmp_path / "out"),
    }  # fmt: skip
    assert "slow" in cli("status", run).stdout
    assert "there is nothing to resume" in cli("resume", run, code=2).stderr
    assert "is being cancelled" in cli("cancel", run, "--reason", "enough").stdout
    assert "cancelled" in cli("watch", run, code=1).stdout
    wait_for_state(cli, "cancelled")
    assert "already ended" in cli("cancel", run, code=2).stderr


def test_an_interrupted_run_can_be_cancelled_in_all_its_lanes(cli: Cli, tmp_path: Path) -> None:
    run = cli("run", "--plan", write(tmp_path, LONG.replace("2.5", "60")), "--detach", "-o", "out").stdout.strip()
    folder = tmp_path / "state/parallel-orchestrator/runs" / run
    os.kill(json.loads((folder / "endpoint.json").read_text())["pid"], signal.SIGKILL)
    wait_for_state(cli, "interrupted")
    note = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**note, "lanes": ["docker", "local"]}))
    assert f"run {run} is cancelled" in cli("cancel", run).stdout
    assert summary(tmp_path / "out")["status"] == "cancelled"
    ups = [line for line in (folder / "services.log").read_text().splitlines() if "dispatcher is up" in line]
    assert any("lane=docker" in line for line in ups), "its containers would go on"


def test_fetch_writes_the_folder_again(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--plan", write(tmp_path, LONG.replace("2.5", "0")), "-o", "out", "-q")
    run = runs(cli)[0]["run"]
    shutil.rmtree(tmp_path / "out")
    assert cli("fetch", run, "-o", "again").stdout.strip() == str(tmp_path / "again")
    assert summary(tmp_path / "again")["tree_digest"]
    assert "echo" not in cli("logs", run).stderr


@pytest.mark.parametrize("words", [["run", "--plan", "plan.yaml"], ["list"], ["doctor"]])
def test_a_broker_that_is_not_there_is_told_within_five_seconds(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    write(tmp_path, NOOP)
    began = time.monotonic()
    result = cli(*words, "--nats-url", "nats://127.0.0.1:9", code=3)
    if os.getloadavg()[0] < (os.cpu_count() or 1):  # a busy machine says nothing about us
        assert time.monotonic() - began < 5.5
    assert "127.0.0.1:9" in result.stderr + result.stdout
    assert not (tmp_path / "outputs").exists()


def test_a_state_folder_that_cannot_be_written_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    result = cli("run", "--plan", write(tmp_path, NOOP), code=3)
    assert result.stderr.count("\n") == 1
    assert not list((tmp_path / "outputs/parallel-orchestrator").iterdir())


def test_a_broken_store_is_told_and_left_as_it_is(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--plan", write(tmp_path, NOOP), "-q")
    run = runs(cli)[0]["run"]
    streams = tmp_path / "state/parallel-orchestrator/runs" / run / "store/jetstream/$G/streams"
    (streams / "PTO" / "meta.inf").write_text("broken")
    assert "restore the folder from a copy" in cli("status", run, code=3).stderr
    assert (streams / "PTO").is_dir()


def test_a_dry_run_starts_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    said = cli("run", "--plan", write(tmp_path, LONG), "--dry-run").stdout
    assert "longest chain: quick -> slow" in said
    plan = json.loads(cli("Build todo list with backend and frontend", "-m", "3", "--dry-run", "--json").stdout)
    assert len(plan["tasks"]) > 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.yaml"]


@pytest.mark.parametrize(("example", "made"), [("etl", "docs/report.md"), ("sweep", "src/best.json")])
def test_examples_run_as_they_are_written(cli: Cli, tmp_path: Path, example: str, made: str) -> None:
    cli("run", "--plan", str(EXAMPLES / f"{example}.yaml"), "-m", "3", "-o", "out")
    assert (tmp_path / "out" / made).stat().st_size > 0
    found = summary(tmp_path / "out")
    assert found["status"] == "succeeded"
    assert not found["simulated"]
    assert found["max_parallel"] <= 3
    assert all(check["passed"] for check in found["checks"])


def test_doctor_finds_everything_here(cli: Cli) -> None:
    assert cli("doctor").stdout.endswith("everything is fine\n")


@pytest.mark.slow
def test_the_demo_shows_five_runs(cli: Cli, tmp_path: Path) -> None:
    lines = cli("demo", "-o", "demo", timeout_s=120).stdout.splitlines()
    rows = {line.split()[0]: line for line in lines if "succeeded" in line and not line.startswith(("0", "succeeded"))}
    assert set(rows) >= {"calculator", "todo", "platform", "retries", "own-plan"}
    assert summary(tmp_path / "demo" / "retries")["retries"] == 2
