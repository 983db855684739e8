"""A requirement becomes a project that works, by every engine; what was asked for, used and paid is in the log."""

from pathlib import Path

import pytest
from fakes.claude_code import pinned_program

from playing import (
    REQUIREMENT,
    TASKS,
    Api,
    attempts,
    entries,
    orchestrator,
    own_tests,
    summary,
)

MODEL = "claude-sonnet-5-5"
BEDROCK_MODEL = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"


def check_project(out: Path, model: str) -> None:
    found = summary(out)
    assert found["status"] == "succeeded"
    assert attempts(out) == dict.fromkeys(TASKS, 1)
    tests = own_tests(out)
    assert tests.returncode == 0, tests.stderr
    assert "Ran 7 tests" in tests.stderr
    assert {path.relative_to(out).as_posix() for path in (out / "src").rglob("*") if path.is_file()} == {
        "src/todo/store.py", "src/todo/page.html", "src/todo/server.py",
    }  # fmt: skip
    (plan,) = entries(out, "PlanFinished")
    assert (plan["model"], plan["complexity"], len(plan["prompt_digest"])) == (model, 35, 64)
    assert plan["cost_usd"] > 0
    ends = [end for end in entries(out, "TaskFinished") if end["task"] in TASKS]
    assert all(end["usage"]["output_tokens"] > 0 and end["cost_usd"] > 0 for end in ends)
    assert {ready["model"] for ready in entries(out, "TaskReady") if ready["task"] != "_merge"} == {model}


def test_api_engine_builds_a_project_whose_tests_pass(api: Api, environment: dict[str, str], tmp_path: Path) -> None:
    done = orchestrator(tmp_path, environment, REQUIREMENT, "--real", "-m", "3", "-o", "out")
    check_project(tmp_path / "out", MODEL)
    assert "SIMULATED" not in done.stdout
    assert "spent" in done.stdout
    assert not any(request.leaked for request in api.requests)


def test_bedrock_builds_the_same_project(aws: Api, environment: dict[str, str], tmp_path: Path) -> None:
    done = orchestrator(tmp_path, environment, REQUIREMENT, "--real", "--docker-use-bedrock", "-m", "3", "-o", "out")
    check_project(tmp_path / "out", BEDROCK_MODEL)
    assert f"model {BEDROCK_MODEL} is switched off on 2026-11-30; use global.anthropic" in done.stderr
    assert not any(request.leaked for request in aws.requests)


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_claude_code_builds_the_same_project(
    provider: str, request: pytest.FixtureRequest, api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["PTO_CLAUDE_CODE"] = str(pinned_program())
    flags = []
    if provider == "bedrock":
        request.getfixturevalue("aws")
        flags = ["--docker-use-bedrock"]
    orchestrator(tmp_path, environment, REQUIREMENT, "--engine", "claude-code", *flags, "-m", "3", "-o", "out")
    check_project(tmp_path / "out", MODEL if provider == "anthropic" else BEDROCK_MODEL)


def test_dry_run_shows_the_models_plan_and_what_it_cost(api: Api, environment: dict[str, str], tmp_path: Path) -> None:
    done = orchestrator(tmp_path, environment, REQUIREMENT, "--real", "--dry-run")
    assert "made by claude-sonnet-5-5 for $0.0" in done.stdout
    assert set(done.stdout.split()) >= TASKS
    assert not (tmp_path / "outputs").exists()


def test_second_run_takes_over_what_the_first_one_paid_for(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    for out in ("one", "two"):
        orchestrator(tmp_path, environment, REQUIREMENT, "--real", "--reuse", "-o", out)
    assert attempts(tmp_path / "two") == dict.fromkeys(TASKS, 0)
    assert own_tests(tmp_path / "two").returncode == 0
    orchestrator(tmp_path, environment, REQUIREMENT, "--real", "--reuse", "--model", "claude-opus-5-5", "-o", "three")
    assert attempts(tmp_path / "three") == dict.fromkeys(TASKS, 1), "another model's work is other work"
