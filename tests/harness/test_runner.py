"""The harness on real commands."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pto_core.merge
import pto_harness.limits
from pto_core.merge import refused_path as core_refused_path
from pto_harness import Cancel, Desk, WorkFailed, run_task
from pto_harness.paths import refused_path
from pto_harness.strays import find_strays
from pto_proto.manifests import Manifest

ENV = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "w"

    def run(self, command: Any = "", **fields: Any) -> dict[str, Any]:
        keywords = {name: fields.pop(name) for name in ("work", "cancel", "on_line") if name in fields}
        marker = f"PTO_ATTEMPT_ID={self.folder.name}"
        task = {
            "workspace": str(self.workspace), "out": str(self.folder / "out"), "log": str(self.folder / "log"),
            "command": command, "env": {**ENV, "PTO_ATTEMPT_ID": self.folder.name}, "marker": marker, **fields,
        }  # fmt: skip
        result = run_task(task, **keywords)
        assert find_strays(marker) == []
        return result

    def manifest(self, result: dict[str, Any]) -> Manifest:
        return msgspec.json.decode(Path(result["manifest"]).read_bytes(), type=Manifest)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_command_that_makes_its_outputs_succeeds(bench: Bench) -> None:
    result = bench.run(
        "mkdir -p src && echo x > src/a.py && echo no > other", outputs=["src/**"], checks=["test -f other"]
    )
    assert (result["outcome"], result["exit_code"], result["files"]) == ("succeeded", 0, 1)
    assert [file.path for file in bench.manifest(result).files] == ["src/a.py"]


def test_without_declared_outputs_every_new_or_changed_file_counts(bench: Bench, tmp_path: Path) -> None:
    for name in ("same", "changed"):
        (tmp_path / name).write_text("old")
    files = [{"path": name, "source": str(tmp_path / name), "mode": 0o644} for name in ("same", "changed")]
    result = bench.run(
        "echo new > changed; echo more > made; mkdir __pycache__; echo junk > __pycache__/x", files=files
    )
    assert [file.path for file in bench.manifest(result).files] == ["changed", "made"]


def test_a_missing_declared_output_is_a_failure(bench: Bench) -> None:
    result = bench.run("true", outputs=["a/*.txt"])
    assert (result["outcome"], result["failure"]) == ("failed", "task")
    assert "'a/*.txt'" in result["reason"]
    assert result["hint"]


@pytest.mark.parametrize("command", ['rm -rf "$PWD"', 'rm -rf "$PWD"; : > "$PWD"', "chmod 000 ."])
def test_a_command_may_do_away_with_its_workspace(bench: Bench, command: str) -> None:
    assert bench.run(command)["outcome"] == "succeeded"
    result = bench.run(command, outputs=["a"], workspace=str(bench.folder / "again"))
    assert (result["outcome"], result["failure"]) == ("failed", "task")
    assert "'a'" in result["reason"]


def test_an_exit_code_and_the_last_lines_are_told(bench: Bench) -> None:
    result = bench.run("echo first; echo oops >&2; exit 7")
    assert (result["failure"], result["exit_code"]) == ("task", 7)
    assert "oops" in result["tail"]
    assert b"oops" in (bench.folder / "log").read_bytes()


def test_a_failing_check_is_a_failure_with_its_output(bench: Bench) -> None:
    result = bench.run("echo x > a", checks=["true", "echo bad check; exit 4"])
    assert (result["outcome"], result["exit_code"]) == ("failed", 4)
    assert "bad check" in result["tail"]


def test_a_time_limit_ends_the_whole_group_and_what_left_it(bench: Bench) -> None:
    began = time.monotonic()
    result = bench.run("(setsid sleep 100 &); sleep 100 & sleep 100", time_limit_s=0.3)
    assert result["failure"] == "timeout"
    assert time.monotonic() - began < 4


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pto_harness.process.GRACE_S", 0.3)
    result = bench.run("trap '' TERM; while :; do sleep 0.05; done", time_limit_s=0.2)
    assert result["failure"] == "timeout"


def test_a_cancel_ends_the_command_and_says_why(bench: Bench) -> None:
    cancel = Cancel()
    threading.Timer(0.2, cancel.request, ["enough"]).start()
    result = bench.run("sleep 100", cancel=cancel)
    assert (result["outcome"], result["failure"], result["reason"]) == ("cancelled", "cancelled", "enough")


def test_background_processes_end_with_the_command(bench: Bench) -> None:
    began = time.monotonic()
    assert bench.run("sleep 100 & echo done")["outcome"] == "succeeded"
    assert time.monotonic() - began < 30


def test_output_of_what_escaped_is_waited_for_a_while_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pto_harness.process.DRAIN_S", 0.2)
    result = bench.run("(setsid sh -c 'sleep 100' &); echo done")  # it has the pipe, and left the group
    assert (result["outcome"], (bench.folder / "log").read_text()) == ("succeeded", "done\n")


def test_a_log_that_cannot_be_written_ends_the_command(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    result = bench.run("while :; do echo x; done", log=str(bench.folder / "file" / "log"))
    assert (result["outcome"], result["failure"]) == ("failed", "infra")


def test_a_cancel_before_the_start_ends_the_command(bench: Bench) -> None:
    cancel = Cancel()
    cancel.request("too late")
    assert bench.run("sleep 100", cancel=cancel)["reason"] == "too late"


def test_commands_leave_no_descriptor_behind(bench: Bench) -> None:
    bench.run("true")
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for command in ("echo x", ["no-such-program"], "sleep 100 & exit 3", "exec >&- 2>&-; sleep 0.05"):
        bench.run(command)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_the_kernels_help_the_end_is_found_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pto_harness.process._open_pidfd", lambda pid: -1)
    assert bench.run("sleep 0.1; exit 3")["exit_code"] == 3
    assert bench.run("sleep 100", time_limit_s=0.2)["failure"] == "timeout"


def test_an_interrupted_run_leaves_no_process(bench: Bench) -> None:
    def interrupt(stream: str, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.run("echo x; sleep 100", on_line=interrupt)
    assert find_strays(f"PTO_ATTEMPT_ID={bench.folder.name}") == []


def test_a_small_bundle_comes_with_the_result_when_asked_for(bench: Bench) -> None:
    files = bench.run("echo x > a")
    inline = bench.run("echo x > a", inline_bytes=65536)
    assert inline["bundle_data"] == Path(files["bundle"]).read_bytes()
    assert inline["manifest_data"] == Path(files["manifest"]).read_bytes()
    assert "bundle" not in inline


def test_a_memory_limit_holds(bench: Bench) -> None:
    command = [sys.executable, "-c", "x = bytearray(10**9)"]
    result = bench.run(command, memory_bytes=300 * 2**20)
    assert result["failure"] == "task"
    assert any("MemoryError" in line for line in result["tail"])


def test_a_program_that_does_not_exist_is_named(bench: Bench) -> None:
    result = bench.run(["no-such-program"])
    assert (result["failure"], result["exit_code"]) == ("task", 127)
    assert "no-such-program" in result["reason"]


def test_links_and_odd_names_are_refused_and_listed(bench: Bench) -> None:
    result = bench.run("ln -s /etc/passwd link; mkfifo pipe; echo x > 'tab\there'; echo ok > good; ln -s / dir")
    assert [file.path for file in bench.manifest(result).files] == ["good"]
    assert sorted(line.split(":")[0] for line in result["refused"]) == ["dir", "link", "pipe", "tab\there"]


def test_a_long_log_is_capped_in_the_middle(bench: Bench) -> None:
    bench.run("yes 0123456789 | head -c 2000000; echo; echo the end")
    log = (bench.folder / "log").read_bytes()
    assert len(log) < 600_000
    assert log.startswith(b"0123456789")
    assert b"dropped" in log
    assert log.endswith(b"the end\n")


def test_the_same_files_give_the_same_bundle_and_canonical_manifest(bench: Bench, tmp_path: Path) -> None:
    command = "mkdir d; echo b > d/b; echo a > a; chmod 755 a; echo ü > 'ü x'"
    results = [Bench(tmp_path / name).run(command) for name in ("one", "two")]
    assert results[0]["bundle_sha256"] == results[1]["bundle_sha256"]
    data = Path(results[0]["manifest"]).read_bytes()
    assert data == Path(results[1]["manifest"]).read_bytes()
    assert msgspec.json.encode(msgspec.json.decode(data, type=Manifest)) == data


def test_a_bundle_fills_the_next_workspace(bench: Bench, tmp_path: Path) -> None:
    made = bench.run("mkdir s; echo one > s/a; echo two > b; chmod 755 b")
    files = [
        {"path": "s/a", "bundle": made["bundle"], "mode": 0o644},
        {"path": "c", "bundle": made["bundle"], "member": "b", "mode": 0o755},
    ]
    result = Bench(tmp_path / "next").run("cat s/a c && test -x c", files=files)
    assert (result["outcome"], result["files"]) == ("succeeded", 0)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//b", "", "x" * 301])
def test_nothing_is_written_outside_the_workspace(bench: Bench, tmp_path: Path, path: str) -> None:
    (tmp_path / "source").write_text("x")
    result = bench.run("true", files=[{"path": path, "source": str(tmp_path / "source"), "mode": 0o644}])
    assert result["failure"] == "infra"


def test_work_that_is_no_command_is_judged_the_same_way(bench: Bench) -> None:
    def write(desk: Desk) -> None:
        (desk.workspace / "made").write_text("x")

    def fail(desk: Desk) -> None:
        raise WorkFailed("the engine gave up")

    assert bench.run(work=write, outputs=["made"])["outcome"] == "succeeded"
    assert bench.run(work=write, outputs=["other"])["outcome"] == "failed"
    assert bench.run(work=fail)["reason"] == "the engine gave up"


def test_work_does_not_begin_after_a_cancel(bench: Bench) -> None:
    begun: list[Desk] = []
    cancel = Cancel()
    cancel.request("enough")
    result = bench.run(work=begun.append, cancel=cancel, outputs=["a"])
    assert (result["outcome"], result["failure"], result["reason"]) == ("cancelled", "cancelled", "enough")
    assert begun == []


def test_work_that_does_not_end_is_given_up_at_the_limit_or_a_cancel(bench: Bench) -> None:
    stuck = threading.Event()
    assert bench.run(work=lambda desk: stuck.wait(30), time_limit_s=0.2)["failure"] == "timeout"
    cancel = Cancel()
    threading.Timer(0.2, cancel.request, ["enough"]).start()
    assert bench.run(work=lambda desk: stuck.wait(30), cancel=cancel)["outcome"] == "cancelled"
    stuck.set()


def test_the_program_writes_a_result_file(tmp_path: Path) -> None:
    task = {"workspace": str(tmp_path / "w"), "out": str(tmp_path / "o"), "command": "echo x > y", "env": ENV}
    (tmp_path / "task.json").write_text(json.dumps(task))
    subprocess.run([sys.executable, "-m", "pto_harness.main", str(tmp_path / "task.json")], check=True)
    assert json.loads((tmp_path / "result.json").read_text())["outcome"] == "succeeded"


def test_the_path_rules_are_those_of_the_core() -> None:
    for path in ("a", "a/b", "../a", "/a", "a/./b", "a\x01", "ü", "x" * 400, "a/" + "y" * 256, "a\\b", "\udcff"):
        assert refused_path(path) == core_refused_path(path)
    assert pto_harness.limits.MAX_PATH_BYTES == pto_core.merge.MAX_PATH_BYTES
