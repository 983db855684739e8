"""The real Claude Code command line works against the fake, by either API, through faults, and asks nobody else."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .claude_code import WORKING_DIRECTORY, ClaudeCode, by_anthropic, by_bedrock, pinned_program
from .messages_api import FakeMessagesApi, scenario_from, serving
from .questions import ACCESS_KEY, KEY

pytestmark = pytest.mark.slow

ADD = "def add(a, b):\n    return a + b\n"
EDIT: list[dict[str, Any]] = [
    {
        "name": "edit",
        "when": {"anywhere": {"regex": WORKING_DIRECTORY}, "tools": ["Write", "Edit"]},
        "turns": [
            {
                "text": "I write.",
                "calls": [{"tool": "Write", "input": {"file_path": "${cwd}/calc.py", "content": ADD}}],
            },
            {
                "calls": [
                    {
                        "tool": "Edit",
                        "input": {"file_path": "${cwd}/calc.py", "old_string": "add", "new_string": "plus"},
                    }
                ]
            },
            {"text": "Done: calc.py"},
        ],
    }
]
KEYS = {"anthropic": KEY, "aws": ACCESS_KEY}


@pytest.fixture(scope="session")
def program() -> Path:
    return pinned_program()


def scenario_with(*faults: dict[str, Any], rules: list[dict[str, Any]] = EDIT) -> Any:
    return scenario_from({"keys": KEYS, "rules": rules, "faults": list(faults), "otherwise": {"text": "ok"}})


Environment = Callable[[FakeMessagesApi], dict[str, str]]


@pytest.mark.parametrize(("environment", "key"), [(by_anthropic, "anthropic"), (by_bedrock, "aws")])
async def test_scripted_edit(program: Path, tmp_path: Path, environment: Environment, key: str) -> None:
    async with serving(scenario_with()) as api:
        claude = ClaudeCode(program, tmp_path, environment(api))
        ran = await claude.run("Write calc.py")
    assert (ran.status, ran.result["is_error"], ran.result["terminal_reason"]) == (0, False, "completed")
    assert (ran.result["result"], ran.result["num_turns"]) == ("Done: calc.py", 3)
    assert [path.name for path in claude.workspace.iterdir()] == ["calc.py"]
    assert (claude.workspace / "calc.py").read_text() == ADD.replace("add", "plus")
    edits = [request for request in api.requests if request.rule == "edit"]
    assert [(request.turn, request.stream, request.keys, request.leaked) for request in edits] == [
        (turn, True, (key,), ()) for turn in range(3)
    ]
    counted = ran.result["usage"]
    assert counted["cache_read_input_tokens"] > counted["input_tokens"] > 0


async def test_single_json_result(program: Path, tmp_path: Path) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 0,
    }
    rules = [{"answer": {"text": "Hello", "usage": usage}}]
    async with serving(scenario_with(rules=rules)) as api:
        ran = await ClaudeCode(program, tmp_path, by_anthropic(api)).run("Say hello", output="json")
    assert (ran.status, ran.result["result"]) == (0, "Hello")
    assert {name: ran.result["usage"][name] for name in usage} == usage


async def test_plan_by_schema(program: Path, tmp_path: Path) -> None:
    plan = {"complexity": 35}
    schema = {"type": "object", "properties": {"complexity": {"type": "integer"}}, "required": ["complexity"]}
    rules = [{"turns": [{"json": {"complexity": "much"}}, {"json": plan}, {"text": "ok"}]}]
    async with serving(scenario_with(rules=rules)) as api:
        ran = await ClaudeCode(program, tmp_path, by_anthropic(api)).run("Plan", "--json-schema", json.dumps(schema))
    assert (ran.status, ran.result["structured_output"]) == (0, plan)


async def test_it_goes_on_through_faults(program: Path, tmp_path: Path) -> None:
    faults: list[dict[str, Any]] = [
        {"fault": "status", "status": 529, "times": 2, "headers": {"retry-after": "0"}},
        {"fault": "cut", "where": "within", "when": {"turn": 1}},
        {"fault": "stream_error", "when": {"turn": 2}},
    ]
    async with serving(scenario_with(*faults)) as api:
        claude = ClaudeCode(program, tmp_path, by_anthropic(api))
        ran = await claude.run("Write calc.py")
    assert (ran.status, ran.result["is_error"]) == (0, False)
    assert (claude.workspace / "calc.py").read_text() == ADD.replace("add", "plus")
    assert [request.fault for request in api.requests if request.fault] == ["status", "status", "cut", "stream_error"]
    assert any(line.get("subtype") == "api_retry" for line in ran.lines)


FAILURES: list[tuple[dict[str, Any], int | None]] = [
    ({"fault": "status", "status": 401}, 401),
    ({"fault": "status", "status": 404, "message": "model: claude-sonnet-5-5"}, 404),
    ({"fault": "status", "status": 529}, 529),
    ({"fault": "cut"}, None),
    ({"fault": "refusal"}, None),
]


@pytest.mark.parametrize(("fault", "status"), FAILURES, ids=[str(fault) for fault, _ in FAILURES])
async def test_fault_for_good_is_an_error_in_the_result(
    program: Path, tmp_path: Path, fault: dict[str, Any], status: int | None
) -> None:
    async with serving(scenario_with({**fault, "times": "always"})) as api:
        claude = ClaudeCode(program, tmp_path, by_anthropic(api))
        ran = await claude.run("Write calc.py", CLAUDE_CODE_MAX_RETRIES="0")
    assert (ran.status, ran.result["is_error"], ran.result["terminal_reason"]) == (1, True, "api_error")
    assert ran.result["api_error_status"] == status
    assert list(claude.workspace.iterdir()) == []


async def test_it_asks_nobody_but_the_fake(program: Path, tmp_path: Path) -> None:
    """Everything that is not on loopback would go to a proxy, and nothing does."""
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as proxy, serving(scenario_with()) as api:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        outside = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": "127.0.0.1"}
        claude = ClaudeCode(program, tmp_path, {**by_anthropic(api), **outside})
        await claude.run("Write calc.py")
        assert asked == []
        assert {request.path for request in api.requests} == {"/v1/messages?beta=true"}
        await claude.run("Write calc.py", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="")
        assert asked, "the proxy would have noticed"


async def test_several_at_once(program: Path, tmp_path: Path) -> None:
    async with serving(scenario_with()) as api:
        several = [ClaudeCode(program, tmp_path / name, by_anthropic(api)) for name in ("a", "b", "c")]
        runs = await asyncio.gather(*(claude.run("Write calc.py") for claude in several))
    assert [ran.status for ran in runs] == [0, 0, 0]
    assert [(claude.workspace / "calc.py").read_text() for claude in several] == [ADD.replace("add", "plus")] * 3
