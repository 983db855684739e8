"""A finished run is continued by a new one; earlier work is taken over, and nothing that has finished is done again."""

import json
import shutil
from pathlib import Path

import pytest

from test_remote_runs import Site, site  # noqa: F401 - a fixture
from typing_in import Cli, executed, runs, summary, task_states, write

PLAN = """\
name: Parts
checks: "test -f src/c.txt"
tasks:
- {id: a, command: "mkdir -p src; echo $$ > src/a.txt", outputs: src/a.txt}
- {id: b, command: "test -e $MARK && cp src/a.txt src/b.txt", env: [MARK], depends_on: a, outputs: src/b.txt, retries: 0}
- {id: c, command: "cat src/b.txt src/d.txt > src/c.txt", depends_on: [b, d], outputs: src/c.txt}
- {id: d, command: "mkdir -p src; echo $$ > src/d.txt", outputs: src/d.txt}
"""
DECLARED = """\
name: Declared
tasks:
- {id: a, command: "mkdir -p src; cat a.in > src/a.txt", inputs: a.in, outputs: src/a.txt}
- {id: b, command: "mkdir -p src; cat b.in > src/b.txt", inputs: b.in, outputs: src/b.txt}
- {id: both, noop: true, depends_on: [a, b]}
- {id: c, command: "sort src/a.txt src/b.txt c.in > src/c.txt", inputs: c.in, depends_on: both, outputs: src/c.txt}
"""


@pytest.fixture
def mark(tmp_path: Path, environment: dict[str, str]) -> Path:
    environment["MARK"] = str(tmp_path / "mark")
    return tmp_path / "mark"


def write_declared(folder: Path) -> str:
    for name in "abc":
        (folder / f"{name}.in").write_text(f"{name}\n")
    return write(folder, DECLARED)


def test_a_partial_run_is_continued_without_repeating_anything(cli: Cli, tmp_path: Path, mark: Path) -> None:
    cli("run", "--plan", write(tmp_path, PLAN), "-m", "2", "-o", "first", code=1)
    assert task_states(tmp_path / "first") == {"a": "succeeded", "b": "failed", "c": "skipped", "d": "succeeded"}
    (old,) = runs(cli)
    mark.touch()
    said = cli("resume", old["run"], "-o", "second").stdout
    new = runs(cli)[-1]["run"]
    assert new != old["run"]
    assert f"run {new} accepted: Parts, goes on where {old['run']} ended (at most 2 at once" in said
    assert f"2 of 4 tasks taken over, 2 from run {old['run']}" in said
    assert task_states(tmp_path / "second") == {"a": "reused", "b": "succeeded", "c": "succeeded", "d": "reused"}
    assert executed(tmp_path / "second") == {"b", "c"}
    found = summary(tmp_path / "second")
    assert (found["status"], found["counts"], found["resumes"]) == (
        "succeeded",
        {"reused": 2, "succeeded": 2},
        old["run"],
    )
    assert [task["reused_from"] for task in found["tasks"]] == [old["run"], "", "", old["run"]]
    for name in ("a", "d"):
        assert (tmp_path / f"second/src/{name}.txt").read_text() == (tmp_path / f"first/src/{name}.txt").read_text()
    assert f"from run {old['run']}: a, d" in (tmp_path / "second/docs/execution.md").read_text()
    assert f"taken over from run {old['run']}" in cli("status", new).stdout


def test_a_run_that_succeeded_has_nothing_left_to_do(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--plan", write(tmp_path, "name: One\ntasks:\n- {id: a, noop: true}\n"), "-o", "first", "-q")
    run = runs(cli)[0]["run"]
    assert "there is nothing left to do" in cli("resume", run, "-o", "second").stdout
    assert not (tmp_path / "second").exists()
    assert len(runs(cli)) == 1


@pytest.mark.slow
def test_a_cancelled_run_is_continued_in_the_background(cli: Cli, tmp_path: Path, mark: Path) -> None:
    plan = write(tmp_path, PLAN.replace("test -e $MARK &&", "until test -e $MARK; do sleep 0.1; done;"))
    run = cli("run", "--plan", plan, "-o", "first", "--detach").stdout.strip()
    cli("cancel", run)
    cli("watch", run, code=1)
    assert cli("resume", run, "-m", "0", code=2).stderr.count("--max-executors: must be") == 1
    mark.touch()
    new = cli("resume", run, "-o", "second", "-m", "3", "--detach").stdout.strip()
    cli("watch", new)
    assert json.loads(cli("status", new, "--json").stdout)["state"] == "succeeded"
    cli("fetch", new, "-o", "third")
    assert summary(tmp_path / "third")["max_executors"] == 3


def test_what_is_gone_from_the_cache_is_done_again(cli: Cli, tmp_path: Path, mark: Path) -> None:
    cli("run", "--plan", write(tmp_path, PLAN), "-q", code=1)
    shutil.rmtree(tmp_path / "state/parallel-orchestrator/blobs")
    mark.touch()
    cli("resume", runs(cli)[0]["run"], "-o", "second", "-q")
    assert executed(tmp_path / "second") == {"a", "b", "c", "d"}


def test_reuse_crosses_runs_for_what_says_what_it_reads(cli: Cli, tmp_path: Path) -> None:
    plan = write_declared(tmp_path)
    cli("run", "--plan", plan, "-o", "o1", "-q", "--reuse")
    assert executed(tmp_path / "o1") == {"a", "b", "both", "c"}
    cli("run", "--plan", plan, "-o", "o2", "-q")
    assert executed(tmp_path / "o2") == {"a", "b", "both", "c"}
    cli("run", "--plan", plan, "-o", "o3", "-q", "--reuse")
    assert executed(tmp_path / "o3") == set()
    assert (tmp_path / "o3/src/c.txt").read_text() == "a\nb\nc\n"
    (tmp_path / "b.in").write_text("x\n")
    cli("run", "--plan", plan, "-o", "o4", "-q", "--reuse")
    assert executed(tmp_path / "o4") == {"b", "both", "c"}
    assert (tmp_path / "o4/src/c.txt").read_text() == "a\nc\nx\n"


def test_reuse_takes_nothing_from_a_run_folder_that_cannot_be_read(cli: Cli, tmp_path: Path) -> None:
    plan = write_declared(tmp_path)
    cli("run", "--plan", plan, "-q")
    (kept,) = (tmp_path / "state/parallel-orchestrator/runs").glob("*/finished.json")
    assert len(json.loads(kept.read_text())) == 4
    kept.write_text("[{]")
    cli("run", "--plan", plan, "-o", "o2", "-q", "--reuse")
    assert executed(tmp_path / "o2") == {"a", "b", "both", "c"}


@pytest.mark.slow
def test_agents_work_is_taken_over(cli: Cli, tmp_path: Path) -> None:
    cli("run", "Build a calculator", "-o", "o1", "-q")
    cli("run", "Build a calculator", "-o", "o2", "-q", "--reuse")
    assert executed(tmp_path / "o1")
    assert executed(tmp_path / "o2") == set()
    assert summary(tmp_path / "o2")["simulated"]
    cli("run", "Build a calculator that adds", "-o", "o3", "-q", "--reuse")
    assert summary(tmp_path / "o3")["counts"].get("reused", 0) == 0


@pytest.mark.slow
def test_at_a_broker_a_finished_run_is_continued_and_work_is_reused(site: Site) -> None:  # noqa: F811
    site.environment["MARK"] = str(site.folder / "mark")
    site.cli("bootstrap")
    site.start_services()
    write(site.folder, PLAN)
    site.cli("run", "--plan", "plan.yaml", "-o", "first", code=1)
    old = json.loads(site.cli("list", "--json").stdout)["run"]
    (site.folder / "mark").touch()
    said = site.cli("resume", old, "-o", "second").stdout
    assert f"2 of 4 tasks taken over, 2 from run {old}" in said
    assert executed(site.folder / "second") == {"b", "c"}
    plan = write_declared(site.folder)
    site.cli("run", "--plan", plan, "-o", "o1", "-q")
    site.cli("run", "--plan", plan, "-o", "o2", "-q", "--reuse")
    assert executed(site.folder / "o2") == set()
    assert (site.folder / "o2/src/c.txt").read_text() == "a\nb\nc\n"
