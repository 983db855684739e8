"""Which engines a process offers, by its environment: what is missing is all said, and nothing of it is secret."""

import sys
from pathlib import Path

import pytest

from pto_engines.offer import Offer
from pto_ports.engine import AgentTask
from pto_proto.ids import TaskId
from pto_proto.plans import TaskSpec
from pto_runtime.clock import SystemClock
from pto_runtime.settings import Settings

KEY = "sk-canary-7f3a"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIACANARY7F3A", "AWS_SECRET_ACCESS_KEY": "secret-canary"}


def offer(environment: dict[str, str], **told: object) -> tuple[Offer, list[str]]:
    said: list[str] = []
    settings = Settings(**{"url": "", "user": "", "password": "", "instance": "", **told})  # type: ignore[arg-type]
    return Offer({"PATH": "/nowhere", **environment}, SystemClock(), settings, said.append), said


def test_without_a_key_only_the_simulated_engine_is_offered_and_the_reasons_are_said() -> None:
    found, said = offer({}, claude_code="/nowhere/claude")
    assert list(found.planners()) == list(found.executors()) == ["simulated"]
    api, claude = said
    assert "engine api cannot be used here: there are no credentials for the model: ANTHROPIC_API_KEY is not set" in api
    assert "ANTHROPIC_API_KEY is not set" in claude
    assert "there is no Claude Code program at /nowhere/claude" in claude


def test_with_key_and_program_all_are_offered(tmp_path: Path) -> None:
    found, said = offer({"ANTHROPIC_API_KEY": KEY}, claude_code=sys.executable)
    assert list(found.executors()) == ["simulated", "api", "claude-code"]
    assert not said


def test_only_what_is_named_is_looked_for() -> None:
    found, said = offer({}, engines=("simulated",))
    assert (list(found.executors()), found.missing, said) == (["simulated"], {}, [])


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "no AWS region is given"),
        ({"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"]}, "AWS_SECRET_ACCESS_KEY is"),
        ({"AWS_REGION": "x", **KEYS, "AWS_BEARER_TOKEN_BEDROCK": "bearer-canary"}, "use one of them"),
        ({"AWS_REGION": "x", **KEYS, "ANTHROPIC_BEDROCK_BASE_URL": "localhost:1"}, "must begin with http:// or"),
    ],
)
def test_settings_of_bedrock_that_cannot_work_are_said_without_secrets(
    environment: dict[str, str], expected: str
) -> None:
    found, (said,) = offer(environment, engines=("api",), provider="bedrock")
    assert expected in said
    assert "canary" not in said.replace("sk-canary", "")
    assert not found.planners()


def test_model_of_the_task_wins_over_that_of_the_service() -> None:
    found, _ = offer({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_MODEL": "third"}, model="second")
    assert [found.settings(name).model for name in ("first", "")] == ["first", "second"]
    assert AgentTask(requirement="", spec=TaskSpec(id=TaskId("a"))).model == ""
    found.close()
