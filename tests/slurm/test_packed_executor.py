"""The executor as the one file that compute nodes get, started by its script as SLURM does, on the Pythons there are."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.sandboxes import sandbox
from slurm.pythons import node_pythons, old_and_new
from tests.fakes.canaries import holders

import pto_harness
import pto_slurm_node
from pto_attempts.job import AgentJob, read_answer
from pto_ports.engine import AgentTask
from pto_proto.plans import TaskSpec
from pto_slurm.package import OLDEST, executor, install
from pto_slurm_node.spool import Fence, Spool, events_in, read_json, take_claim, write_json, write_secrets

NAME = "pto-" + "b" * 24
PATH = "/usr/local/bin:/usr/bin:/bin"


class Attempt:
    """One attempt in a spool, done by the installed script."""

    def __init__(self, root: Path, python: str = sys.executable) -> None:
        self.spool = Spool(root / "spool with blanks")
        self.spool.prepare()
        self.spool.prepare_run("run-1")
        self.installed = install(self.spool)
        self.folder = self.spool.attempt("run-1", NAME)
        self.folder.mkdir()
        self.work = self.spool.run("run-1") / "work"
        self.python = python

    def order(self, command: Any = "", **more: Any) -> None:
        own = {name: more.pop(name) for name in ("secrets", "secret_names", "agent", "agent_python") if name in more}
        task = {
            "workspace": f"{self.work}/w", "out": f"{self.work}/out", "log": f"{self.work}/log", "command": command,
            "env": {"PATH": PATH, "PTO_ATTEMPT_ID": NAME}, "marker": f"PTO_ATTEMPT_ID={NAME}", **more,
        }  # fmt: skip
        write_json(self.folder / "order.json", {"task": task, **own})

    def start(self, job: str = "744", **environment: str) -> "subprocess.Popen[str]":
        argv = ["/bin/sh", self.installed.script, *self.installed.arguments("run", self.folder, self.python)]
        given = {"SLURM_JOB_ID": job, "SLURMD_NODENAME": "n2", "SECRET_OF_THE_NODE": "x", **environment}
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=given, start_new_session=True
        )

    def run(self, job: str = "744", **environment: str) -> tuple[int, str, str]:
        with self.start(job, **environment) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def events(self) -> list[str]:
        return [f"{event.fence.job}.{event.fence.restart}.{event.kind}" for event in events_in(self.spool.results)]

    def result(self, job: str = "744", restart: int = 0) -> dict[str, Any]:
        return dict(read_json(self.spool.results / f"{NAME}.{job}.{restart}.result.json"))


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


@pytest.mark.parametrize("version", old_and_new())
def test_an_attempt_from_its_claim_to_its_result(tmp_path, version):
    attempt = Attempt(tmp_path, node_pythons()[version])
    attempt.order("echo hello; echo made > x; printenv > env; id -u", outputs=["x"], checks=["test -s x"])
    assert attempt.run() == (0, f"hello\n{os.getuid()}\n[harness] check: test -s x\n", "")
    assert attempt.events() == ["744.0.started", "744.0.result"]
    result = attempt.result()
    assert (result["outcome"], result["exit_code"], result["files"], result["node"]) == ("succeeded", 0, 1, "n2")
    assert Path(result["bundle"]).stat().st_size > 0
    assert Path(result["log"]).read_text().startswith("hello\n")
    seen = (attempt.work / "w" / "env").read_text()
    assert "SLURM_JOB_ID=744" in seen
    assert "SECRET_OF_THE_NODE" not in seen
    assert (attempt.folder / "claim").read_text() == f"{NAME}.744.0"


@pytest.mark.parametrize("version", old_and_new())
def test_a_sandboxed_command_runs_out_of_the_one_file(tmp_path, version):
    attempt = Attempt(tmp_path, node_pythons()[version])
    attempt.order("echo in > x; cat /etc/shadow", outputs=["x"], sandbox="wanted")
    attempt.run()
    result = attempt.result()
    assert result["sandbox"] in ("bubblewrap", "landlock", "none")
    if result["sandbox"] != "none":
        assert (result["outcome"], result["exit_code"]) == ("failed", 1)


def test_landlock_runs_out_of_the_one_file(attempt, tmp_path):
    sandbox("landlock")
    box = {
        "readable": ["/usr", "/lib", "/lib64", "/bin"],
        "writable": [str(tmp_path)],
        "network": True,
        "lenient": True,
    }
    argv = [
        sys.executable, "-I", "-S", attempt.installed.executor, "confine", json.dumps({**box, "keeps_home": False}),
        "/bin/sh", "-c", "echo in; cat /etc/hostname",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": PATH})
    assert (done.returncode, done.stdout) == (1, "in\n")
    assert "Permission denied" in done.stderr


def test_a_task_that_fails_is_a_result_and_no_failure_of_the_job(attempt):
    attempt.order("echo no >&2; exit 3")
    assert attempt.run()[0] == 0
    result = attempt.result()
    assert (result["outcome"], result["failure"], result["exit_code"]) == ("failed", "task", 3)
    assert result["tail"][0] == "no"


def test_of_two_jobs_one_does_the_attempt(attempt):
    attempt.order("echo x >> ../count")
    jobs = [attempt.start(str(job)) for job in (7, 8)]
    said = [job.communicate(timeout=60)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert (attempt.work / "count").read_text() == "x\n"
    assert len(attempt.events()) == 2
    assert sum("does this attempt" in text for text in said) == 1


def test_a_job_that_was_started_again_works_beside_its_former_self(attempt):
    assert take_claim(attempt.folder, Fence(NAME, "744", 0))
    attempt.order("pwd > where", outputs=["where"])
    attempt.run(SLURM_RESTART_COUNT="1")
    assert attempt.events() == ["744.1.started", "744.1.result"]
    result = attempt.result(restart=1)
    assert result["workspace"] == f"{attempt.work}/w.restart1"
    assert result["out"] == f"{attempt.work}/out.restart1"
    assert "w.restart1" in (attempt.work / "w.restart1" / "where").read_text()
    attempt.order("echo late")
    assert attempt.run()[0] == 0, "the former self has lost its claim"
    assert len(attempt.events()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_who_is_told_to_end_keeps_what_it_has_and_says_so(attempt, number):
    attempt.order("echo part > part; echo ready; sleep 60", outputs=["part"])
    with attempt.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(30) == 0
    assert attempt.events() == ["744.0.started", "744.0.interrupted", "744.0.result"]
    result = attempt.result()
    assert (result["outcome"], result["reason"]) == ("cancelled", f"signal {number.name}")
    assert (attempt.work / "w" / "part").read_text() == "part\n"


def test_a_task_that_heard_of_the_end_before_its_executor_was_told_to_end_too(attempt):
    """As by scancel, which tells all processes of a job."""
    attempt.order("echo $$; exec sleep 60")
    with attempt.start() as process:
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), signal.SIGTERM)
        process.terminate()
        assert process.wait(30) == 0
    assert attempt.result()["outcome"] == "cancelled"


def test_a_task_that_ends_itself_by_a_signal_has_failed(attempt):
    attempt.order("kill -TERM $$")
    attempt.run()
    assert (attempt.result()["outcome"], attempt.result()["exit_code"]) == ("failed", 143)


def test_the_task_s_own_time_limit(attempt):
    attempt.order("sleep 60", time_limit_s=0.2)
    assert attempt.run()[0] == 0
    assert attempt.result()["failure"] == "timeout"


def test_secrets_reach_the_task_and_nothing_else(attempt):
    path = attempt.spool.run("run-1") / "secrets.json"
    write_secrets(path, {"TOKEN": "canary-value-1", "OTHER": "canary-value-2"})
    attempt.order(
        "echo $TOKEN; echo $OTHER.; printf '%s' \"$TOKEN\" | wc -c", secrets=str(path), secret_names=["TOKEN"]
    )
    code, out, err = attempt.run()
    assert (code, out, err) == (0, "***\n.\n14\n", "")
    assert holders("canary", below=(attempt.spool.root,)) == [path]


def test_secrets_that_others_can_read_are_not_used(attempt):
    path = attempt.spool.run("run-1") / "secrets.json"
    write_secrets(path, {"TOKEN": "canary-value-1"})
    path.chmod(0o644)
    attempt.order("true", secrets=str(path), secret_names=["TOKEN"])
    attempt.run()
    result = attempt.result()
    assert (result["failure"], "read by others" in result["reason"]) == ("config", True)


def test_output_without_end_is_not_all_shown(attempt):
    attempt.order("yes 0123456789012345678901234567890123456789 | head -n 200000")
    code, out, _ = attempt.run()
    assert code == 0
    assert len(out) < 5 * 2**20
    assert out.endswith("more is not shown here; see the task's log\n")


def test_what_is_missing_on_a_node_is_said(attempt):
    attempt.order("true")
    argv = ["/bin/sh", attempt.installed.script, "python3", attempt.installed.executor, "run", "/nowhere/at/all"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={})
    assert (done.returncode, "/nowhere/at/all is not there" in done.stderr) == (126, True)
    argv[3:] = ["/nowhere.pyz", "run", str(attempt.folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={})
    assert (done.returncode, "executor /nowhere.pyz is not there" in done.stderr) == (126, True)


def test_a_node_without_a_python_that_is_new_enough(attempt, tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    text = Path(attempt.installed.script).read_text()
    script = tmp_path / "job.sh"
    script.write_text(text.replace("/usr/local/bin:/usr/bin:/bin", str(tmp_path)))
    argv = ["/bin/sh", str(script), *attempt.installed.arguments("run", attempt.folder, "python2.7")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (78, f"no Python {OLDEST} or newer was found (tried first: python2.7)\n")


def test_an_order_that_is_not_whole(attempt):
    (attempt.folder / "order.json").write_text("{")
    attempt.run()
    assert (attempt.result()["failure"], "not whole" in attempt.result()["reason"]) == ("infra", True)


def test_a_spool_that_cannot_be_written(attempt):
    attempt.order("true")
    attempt.spool.results.rmdir()
    code, _, err = attempt.run()
    assert (code, "spool cannot be written" in err) == (74, True)


def test_the_same_code_gives_the_same_file_once(attempt):
    assert executor() == executor()
    before = {path: path.stat().st_mtime_ns for path in attempt.spool.bin.iterdir()}
    assert install(attempt.spool) == attempt.installed
    assert {path: path.stat().st_mtime_ns for path in attempt.spool.bin.iterdir()} == before
    assert len(before) == 2


def test_a_probe_tells_what_the_node_has(attempt):
    done = subprocess.run(["/bin/sh", "-c", attempt.installed.probe(sys.executable)], capture_output=True, check=True)
    assert json.loads(done.stdout)["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("package", [pto_harness, pto_slurm_node])
def test_what_is_packed_is_written_for_the_oldest_python(package):
    """Syntax by the parser; that it runs, by the tests above where such a Python is there."""
    version = tuple(map(int, OLDEST.split(".")))
    for path in sorted(Path(package.__file__).parent.glob("*.py")):
        ast.parse(path.read_text(), str(path), feature_version=version)
    folder = Path(package.__file__).parent
    argv = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--target-version",
        "py38",
        "--select",
        "F,E9",
        str(folder),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- agents ---


def agent(engine: str = "simulated", **more: Any) -> dict[str, Any]:
    return {"engine": engine, "agent": {"requirement": "r"}, **more}


def pretend(folder: Path, body: str) -> str:
    """A python of a shared environment whose ``pto-attempt`` does this; $3 is the job, $4 the answer."""
    path = folder / "agent-python"
    path.write_text(f'#!/bin/sh\n[ "$2" = pto_attempts.main ] || exit 9\n{body}\n')
    path.chmod(0o755)
    return str(path)


def test_an_agent_is_done_by_the_shared_environment(attempt, tmp_path):
    python = pretend(tmp_path, 'echo working; cp "$3" ' + str(tmp_path / "seen") + '; cat > "$4" <<E\n'
        '{"result": {"outcome": "succeeded", "failure": null, "files": 0, "exit_code": null}, "spent": {"cost_usd": 0.5},'
        ' "is_final": true}\nE')  # fmt: skip
    attempt.order(agent=agent(), agent_python=python, outputs=["x"])
    code, out, err = attempt.run()
    assert (code, out, err) == (0, "working\n", "")
    result = attempt.result()
    assert (result["outcome"], result["bill"]) == ("succeeded", {"spent": {"cost_usd": 0.5}, "is_final": True})
    job = json.loads((tmp_path / "seen").read_text())
    assert (job["kind"], job["engine"], job["task"]["outputs"]) == ("agent", "simulated", ["x"])


def test_an_agent_s_failure_is_its_answer(attempt, tmp_path):
    answer = '{"failure": {"reason": "no key", "failure": "config", "hint": "set one"}}'
    attempt.order(agent=agent(), agent_python=pretend(tmp_path, f"echo '{answer}' > \"$4\""))
    attempt.run()
    result = attempt.result()
    assert (result["outcome"], result["failure"], result["reason"], result["hint"]) == (
        "failed",
        "config",
        "no key",
        "set one",
    )


@pytest.mark.parametrize(
    ("body", "failure", "words"),
    [
        ("echo \"Error: No module named 'pto_attempts'\" >&2; exit 1", "config", "lacks this distribution"),
        ("echo boom >&2; exit 3", "infra", "exit code 3 and no answer: boom"),
        ("kill -9 $$", "infra", "exit code -9 and no answer"),
    ],
)
def test_a_shared_environment_that_does_not_work(attempt, tmp_path, body, failure, words):
    attempt.order(agent=agent(), agent_python=pretend(tmp_path, body))
    attempt.run()
    assert attempt.result()["failure"] == failure
    assert words in attempt.result()["reason"]


def test_a_node_without_the_shared_environment(attempt):
    attempt.order(agent=agent(), agent_python="/shared/venv/bin/python")
    attempt.run()
    result = attempt.result()
    assert (result["failure"], result["reason"]) == (
        "config",
        "node n2 has no /shared/venv/bin/python, which runs agents",
    )
    assert "PTO_SLURM_AGENT_PYTHON" in result["hint"]


def test_a_node_without_a_route_to_the_model(attempt, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        secrets = attempt.spool.run("run-1") / "engine.json"
        write_secrets(secrets, {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}", "ANTHROPIC_API_KEY": "canary"})
        attempt.order(agent=agent("api", credentials=str(secrets)), agent_python=sys.executable)
        attempt.run()
    result = attempt.result()
    assert result["failure"] == "config"
    assert result["reason"].startswith(f"node n2 has no route to the model at 127.0.0.1:{port} (")


def test_an_agent_that_is_told_to_end(attempt, tmp_path):
    attempt.order(agent=agent(), agent_python=pretend(tmp_path, "echo ready; exec sleep 60"))
    with attempt.start() as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 0
    assert (attempt.result()["outcome"], attempt.result()["reason"]) == ("cancelled", "signal SIGTERM")


def test_a_real_agent_in_a_real_environment(attempt):
    spec = TaskSpec(id="docs", agent="Write README.md.", outputs=("README.md",), writes=("README.md",))
    job = AgentJob(task={}, agent=AgentTask(requirement="Build a calculator", spec=spec), engine="simulated")
    fields = {name: value for name, value in msgspec.to_builtins(job).items() if name not in ("kind", "task")}
    attempt.order(
        agent=fields, agent_python=sys.executable, outputs=["README.md"], writes=["README.md"], sandbox="wanted",
        unfinished=f"{attempt.work}/.unfinished", checks=["grep -q SIMULATED README.md"],
    )  # fmt: skip
    assert attempt.run()[0] == 0
    result = attempt.result()
    assert (result["outcome"], result["files"]) == ("succeeded", 1), result
    assert read_answer(msgspec.json.encode(result["bill"])).is_final
