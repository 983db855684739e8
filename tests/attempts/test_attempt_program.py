"""``pto-attempt`` as a program: an agent's task and a plan, by the simulated engine, and what it says about bad jobs."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from pto_attempts.job import AgentJob, Answer, PlanJob, read_answer
from pto_ports.engine import AgentTask
from pto_proto.ids import TaskId
from pto_proto.plans import TaskSpec

PROGRAM = [sys.executable, "-m", "pto_attempts.main"]
SPEC = TaskSpec(id=TaskId("api"), title="API", agent="Write the API of a todo list", outputs=("src/**",))


def answer_of(folder: Path, job: AgentJob | PlanJob, *, environment: dict[str, str] | None = None) -> Answer:
    source, target = folder / "job.json", folder / "answer.json"
    source.write_bytes(msgspec.json.encode(job))
    subprocess.run([*PROGRAM, str(source), str(target)], check=True, timeout=60, env=environment)
    return read_answer(target.read_bytes())


def agent_job(folder: Path, **task: object) -> AgentJob:
    places = {
        "workspace": str(folder / "ws"), "out": str(folder / "out"), "log": str(folder / "log"),
        "outputs": list(SPEC.outputs), "inline_bytes": 65536,
    }  # fmt: skip
    agent = AgentTask(requirement="Build a todo list", spec=SPEC)
    return AgentJob(task={**places, **task}, agent=agent, engine="simulated")


def test_agent_task_leaves_bundle_and_manifest(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, agent_job(tmp_path))

    result = answer.result
    assert result is not None
    assert (result["outcome"], result["failure"]) == ("succeeded", None)
    assert result["files"] >= 1
    assert Path(result["bundle"]).is_file()
    assert Path(result["manifest"]).is_file()
    assert answer.is_final


def test_agent_task_that_misses_its_check_fails(tmp_path: Path) -> None:
    answer = answer_of(tmp_path, agent_job(tmp_path, checks=["false"], feedback_turns=0))

    assert answer.result is not None
    assert (answer.result["outcome"], answer.result["failure"]) == ("failed", "task")


def test_plan(tmp_path: Path) -> None:
    answer = answer_of(
        tmp_path, PlanJob(requirement="Build a todo list with backend", max_executors=3, engine="simulated")
    )

    assert answer.draft is not None
    assert len(answer.draft.plan.tasks) > 1


def test_engine_without_key_is_a_configuration_failure(tmp_path: Path) -> None:
    answer = answer_of(
        tmp_path, PlanJob(requirement="Build", max_executors=1, engine="api"), environment={"PATH": "/usr/bin:/bin"}
    )

    assert answer.failure is not None
    assert answer.failure.failure == "config"
    assert "ANTHROPIC_API_KEY" in answer.failure.reason + answer.failure.hint


def test_unreadable_job_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{")

    ended = subprocess.run([*PROGRAM, str(tmp_path / "job.json"), str(tmp_path / "answer.json")], capture_output=True)

    assert ended.returncode == 2
    assert b"cannot be read" in ended.stderr
    assert not (tmp_path / "answer.json").exists()


def test_termination_is_a_cancel(tmp_path: Path) -> None:
    job = agent_job(tmp_path, checks=["touch began; sleep 60"])
    source, target = tmp_path / "job.json", tmp_path / "answer.json"
    source.write_bytes(msgspec.json.encode(job))
    with subprocess.Popen([*PROGRAM, str(source), str(target)], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "check" in line:
                break
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=30)

    answer = read_answer(target.read_bytes())
    assert answer.result is not None
    assert answer.result["outcome"] == "cancelled"
