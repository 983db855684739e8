"""What goes wrong around a model, seen from the command line: what waits, pauses, fails, and is done again."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from playing import (
    KEY,
    ORCHESTRATOR,
    REQUIREMENT,
    TASKS,
    Api,
    attempts,
    entries,
    orchestrator,
    own_tests,
    play,
    run_name,
    scenario,
    summary,
)

STORE = {"tools": ["write_file", "finish"], "first_user": "# Task store:"}
RUN = (REQUIREMENT, "--real", "-m", "3", "-o", "out")


@pytest.mark.parametrize(
    "faults",
    [
        [{"fault": "status", "status": 529, "for_s": 4}],
        [{"fault": "status", "status": 429, "retry_after_s": 1, "for_s": 4, "when": STORE}],
        [{"fault": "cut", "where": "within", "when": STORE}, {"fault": "cut", "where": "before"}],
        [{"fault": "malformed", "when": STORE}, {"fault": "stream_error", "type": "overloaded_error", "when": STORE}],
    ],
    ids=["529 for a while", "429 for a while", "cut streams", "nonsense"],
)
def test_passing_trouble_costs_no_attempt(
    faults: list[dict[str, Any]], environment: dict[str, str], tmp_path: Path
) -> None:
    with play(scenario(faults)) as api:
        environment |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        orchestrator(tmp_path, environment, *RUN)
    assert attempts(tmp_path / "out") == dict.fromkeys(TASKS, 1)
    assert not [end for end in entries(tmp_path / "out", "TaskFinished") if end["outcome"] != "succeeded"]
    assert own_tests(tmp_path / "out").returncode == 0


def test_refusal_fails_the_task_and_what_needs_it_and_keeps_the_rest(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with play(scenario([{"fault": "refusal", "text": "I will not.", "when": STORE, "times": "always"}])) as api:
        environment |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        orchestrator(tmp_path, environment, *RUN, "--max-retries", "0", code=1)
    found = summary(tmp_path / "out")
    states = {task["id"]: task["state"] for task in found["tasks"]}
    assert (found["status"], states) == (
        "partial", {"store": "failed", "page": "succeeded", "server": "skipped", "readme": "skipped"},
    )  # fmt: skip
    (failed,) = [end for end in entries(tmp_path / "out", "TaskFinished") if end["outcome"] == "failed"]
    assert failed["reason"].startswith("the model refuses to do this task")
    assert failed["failure"] == "task"
    assert failed["cost_usd"] > 0, "a refusal is paid for"


def test_missing_credentials_are_one_sentence_before_anything_starts(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = orchestrator(tmp_path, environment, REQUIREMENT, "--real", code=3)
    assert done.stderr.startswith("orchestrator: there are no credentials for the model: ANTHROPIC_API_KEY is not set.")
    environment["PATH"] = "/nowhere"
    both = orchestrator(tmp_path, environment, REQUIREMENT, "--engine", "claude-code", code=3).stderr
    assert "ANTHROPIC_API_KEY is not set" in both
    assert "Claude Code is not installed here" in both
    aws = orchestrator(tmp_path, environment, REQUIREMENT, "--real", "--docker-use-bedrock", code=3).stderr
    assert "AWS found no credentials by any of its ways" in aws
    assert not (tmp_path / "outputs").exists()
    assert not list((tmp_path / "state").rglob("runs/*"))


def test_limit_of_cost_needs_a_price(api: Api, environment: dict[str, str], tmp_path: Path) -> None:
    words = (REQUIREMENT, "--real", "--model", "claude-unheard-9", "--max-cost", "5")
    said = orchestrator(tmp_path, environment, *words, code=3).stderr
    assert "--max-cost: the price of model claude-unheard-9 is unknown" in said
    assert not api.requests


def test_refused_key_pauses_the_run_and_the_right_one_goes_on(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    wrong = {**environment, "ANTHROPIC_API_KEY": "sk-not-the-one"}
    paused = orchestrator(tmp_path, wrong, *RUN, code=4)
    assert "paused: the API does not accept the credentials (status 401)" in paused.stderr
    assert "Check ANTHROPIC_API_KEY" in paused.stderr
    run = run_name(paused.stderr)
    nothing = {key: value for key, value in environment.items() if key != "ANTHROPIC_API_KEY"}
    assert "ANTHROPIC_API_KEY is not set" in orchestrator(tmp_path, nothing, "resume", run, code=3).stderr
    orchestrator(tmp_path, environment, "resume", run)
    assert attempts(tmp_path / "out") == dict.fromkeys(TASKS, 1)


def test_key_that_ends_in_the_middle_keeps_what_was_done(environment: dict[str, str], tmp_path: Path) -> None:
    server = {"tools": ["write_file", "finish"], "first_user": "# Task server:"}
    with play(scenario([{"fault": "status", "status": 401, "when": server}])) as api:
        environment |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        paused = orchestrator(tmp_path, environment, *RUN, code=4)
        orchestrator(tmp_path, environment, "resume", run_name(paused.stderr))
    assert attempts(tmp_path / "out") == {"store": 1, "page": 1, "server": 2, "readme": 1}
    first, _ = next(task["attempts"] for task in summary(tmp_path / "out")["tasks"] if task["id"] == "server")
    assert first["failure"] == "config"


def test_killed_command_is_picked_up_and_redoes_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    server = {"tools": ["write_file", "finish"], "first_user": "# Task server:", "turn": [1, 9]}
    with play(scenario([{"fault": "slow", "first_byte_s": 20, "when": server}])) as api:
        environment |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        process = subprocess.Popen(
            [ORCHESTRATOR, *RUN], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 60
        while not any("# Task server:" in str(asked.body) for asked in api.requests) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=30)
        asked = len(api.requests)
        orchestrator(tmp_path, environment, "resume", run_name(said))
        again = [str(one.body) for one in api.requests[asked:]]
    assert attempts(tmp_path / "out") == {"store": 1, "page": 1, "server": 2, "readme": 1}
    assert not any("# Task store:" in one or "You plan" in one for one in again), "finished work is not paid twice"
    assert own_tests(tmp_path / "out").returncode == 0


def test_what_has_no_effect_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    done = orchestrator(tmp_path, environment, "Create a calculator function", "--docker-use-bedrock", "-o", "out")
    assert "--docker-use-bedrock: the simulated engine asks no model; add --real" in done.stderr


def test_doctor_says_what_to_do_and_asks_only_when_told_to(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    orchestrator(tmp_path, environment, "doctor", "--real")
    assert not api.requests
    said = orchestrator(tmp_path, environment, "doctor", "--real", "--probe").stdout
    assert f"probe: claude-sonnet-5-5 answers at {api.url}" in said
    (asked,) = api.requests
    assert asked.body["max_tokens"] == 1
    wrong = {**environment, "ANTHROPIC_API_KEY": "sk-not-the-one"}
    refused = orchestrator(tmp_path, wrong, "doctor", "--real", "--probe", code=3).stdout
    assert "FAIL  probe: the API does not accept the credentials (status 401)" in refused
    aws = orchestrator(tmp_path, environment, "doctor", "--real", "--docker-use-bedrock", code=3).stdout
    assert "FAIL  credentials:" in aws
    assert "region: eu-central-1" in aws
    assert "is switched off on 2026-11-30" in aws


def test_cancel_ends_a_question_that_is_being_answered(environment: dict[str, str], tmp_path: Path) -> None:
    with play(scenario([{"fault": "slow", "first_byte_s": 60}])) as api:
        environment |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        run = orchestrator(tmp_path, environment, *RUN, "--detach").stdout.strip()
        until = time.monotonic() + 30
        while not api.requests and time.monotonic() < until:
            time.sleep(0.05)
        orchestrator(tmp_path, environment, "cancel", run, code=None)
        orchestrator(tmp_path, environment, "watch", run, code=1)
    until = time.monotonic() + 30
    while not (tmp_path / "out/execution_summary.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert summary(tmp_path / "out")["status"] == "cancelled"
    (end,) = entries(tmp_path / "out", "TaskFinished")
    assert (end["outcome"], end["failure"]) == ("cancelled", "cancelled")
    assert end["duration_s"] < 50, "it did not wait for the answer"
