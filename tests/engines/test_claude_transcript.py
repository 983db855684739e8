"""How a run of the Claude Code command line is judged: by its result line, its exit code, and never by its words."""

import json
from pathlib import Path
from typing import Any

import pytest

from pto_engines.claude_code.invocation import Call, arguments, environment, permissions
from pto_engines.claude_code.program import find_program, program_version
from pto_engines.claude_code.transcript import Outcome, Transcript
from pto_engines.models.credentials import AwsKeys
from pto_engines.models.prices import shipped_prices
from pto_engines.models.settings import ModelSettings
from pto_ports.engine import Ended, EngineError

MODEL = "claude-sonnet-5-5"
DONE: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "terminal_reason": "completed",
    "result": "Done.",
    "num_turns": 3,
    "usage": {"input_tokens": 0},
    "modelUsage": {
        MODEL: {"inputTokens": 1_000_000, "outputTokens": 100_000, "cacheReadInputTokens": 0, "costUSD": 99}
    },
}


def judged(*lines: Any, code: int = 0, why: Any = "exited", errors: bytes = b"", chunk: int = 1 << 20) -> Outcome:
    transcript = Transcript(lambda line: None)
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    for at in range(0, len(data), chunk):
        transcript.feed("stdout", data[at : at + chunk])
    transcript.feed("stderr", errors)
    return transcript.outcome(Ended(code, why), shipped_prices(), MODEL)


def failed(**changes: Any) -> dict[str, Any]:
    return {**DONE, "is_error": True, "terminal_reason": "api_error", **changes}


def test_done() -> None:
    found = judged({"type": "system"}, b"no json", {**DONE, "permission_denials": [{"tool_name": "Write"}]}, chunk=7)
    assert found.error is None
    assert (found.text, found.denied, found.spent.turns) == ("Done.", ("Write",), 3)
    assert found.spent.cost_usd == pytest.approx(3.0), "by our prices, not by the program's"


CASES: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "infra"),
    ((), {"code": 143}, "infra"),
    ((), {"code": 1, "errors": b"error: unknown option '--restricted'"}, "config"),
    ((DONE,), {"code": 1}, "task"),
    ((DONE,), {"why": "cancelled", "code": 143}, "cancelled"),
    ((DONE,), {"why": "timeout", "code": 137}, "timeout"),
    (({**DONE, "is_error": True},), {}, "task"),
    (({**DONE, "terminal_reason": "max_turns"},), {}, "task"),
    (({**DONE, "subtype": "error_max_turns", "is_error": True},), {"code": 1}, "task"),
    (({**DONE, "subtype": "error_max_budget_usd", "is_error": True},), {"code": 1}, "budget"),
    (({**DONE, "subtype": "error_during_execution"},), {"code": 1}, "task"),
    ((failed(api_error_status=401),), {"code": 1}, "config"),
    ((failed(api_error_status=404),), {"code": 1}, "config"),
    ((failed(api_error_status=529),), {"code": 1}, "capacity"),
    ((failed(api_error_status=429),), {"code": 1}, "capacity"),
    ((failed(api_error_status=400, result="API Error: prompt is too long"),), {"code": 1}, "task"),
    (
        (failed(api_error_status=None, result="API Error: Connection error. ECONNREFUSED refused"),),
        {"code": 1},
        "infra",
    ),
    ((failed(api_error_status=None, result="API Error: Connection dropped (ECONNRESET)"),), {"code": 1}, "capacity"),
    ((failed(api_error_status=None, result="Not logged in · Please run /login"),), {"code": 1}, "config"),
    (
        (failed(api_error_status=None, result="API Error: API returned an empty or malformed response"),),
        {"code": 1},
        "capacity",
    ),
    (
        (failed(api_error_status=None, result="API Error: Sonnet 5.5 can't help with this: socket, login"),),
        {"code": 1},
        "task",
    ),
    ((failed(api_error_status=None, result="I can't connect without credentials. ECONNREFUSED"),), {"code": 1}, "task"),
]


@pytest.mark.parametrize(("lines", "how", "failure"), CASES)
def test_failure_class_of_an_end(lines: tuple[Any, ...], how: dict[str, Any], failure: str) -> None:
    found = judged(*lines, **how)
    assert found.error is not None
    assert found.error.failure == failure
    if failure == "config":
        assert found.error.hint


def test_wait_of_the_last_retry_is_passed_on() -> None:
    retry = {"type": "system", "subtype": "api_retry", "error_status": 529, "retry_delay_ms": 7000}
    found = judged(retry, failed(api_error_status=529), code=1)
    assert found.error is not None
    assert found.error.retry_after_s == 7.0
    assert found.fault is not None
    assert found.fault.holds_all


def test_unknown_model_costs_an_unknown_amount() -> None:
    usage = {"claude-new-9": {"inputTokens": 5, "outputTokens": 5, "costUSD": 1}}
    assert judged({**DONE, "modelUsage": usage}).spent.cost_usd is None
    assert judged({**DONE, "modelUsage": {}}).spent.cost_usd is None


def test_arguments_hold_neither_secret_nor_task() -> None:
    call = Call(system="Be good.", max_turns=7, max_cost_usd=1.5, schema="{}")
    argv = arguments(Path("/opt/claude"), call, Path("/private/settings.json"))
    assert argv[argv.index("--max-turns") + 1] == "7"
    assert argv[argv.index("--max-budget-usd") + 1] == "1.500000"
    assert "Bash" not in argv[argv.index("--tools") + 1]
    assert "--dangerously-skip-permissions" not in argv


def test_permissions_are_the_scope() -> None:
    rules = json.loads(permissions(["src/**", "docs/", "./README.md", "!odd (name),x"]))["permissions"]
    assert rules["allow"][1:] == ["Edit(./src/**)", "Edit(./docs/**)", "Edit(./README.md)", "Edit(./!odd (name),x)"]


def test_environment_is_a_list_of_what_is_known(tmp_path: Path) -> None:
    host = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "GITHUB_TOKEN": "t",
        "AWS_SECRET_ACCESS_KEY": "host",
        "HTTPS_PROXY": "p",
    }
    found = environment(ModelSettings(api_key="k", base_url="http://x"), host, tmp_path)
    assert (found["HOME"], found["ANTHROPIC_API_KEY"], found["ANTHROPIC_BASE_URL"], found["HTTPS_PROXY"]) == (
        str(tmp_path),
        "k",
        "http://x",
        "p",
    )
    assert not {"GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(found)
    aws = ModelSettings(provider="bedrock", model="m", region="eu-central-1")
    found = environment(aws, host, tmp_path, AwsKeys(access_key_id="a", secret_access_key="s", session_token="t"))
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], found["AWS_SESSION_TOKEN"]) == ("a", "s", "t")
    assert "ANTHROPIC_API_KEY" not in found
    assert {found[f"ANTHROPIC_DEFAULT_{name}_MODEL"] for name in ("OPUS", "SONNET", "HAIKU")} == {"m"}


def test_program_is_found_by_setting_path_or_said_to_be_missing(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\necho 9.9.9\n")
    with pytest.raises(EngineError, match="no Claude Code program at"):
        find_program(str(program))
    program.chmod(0o755)
    assert find_program(str(program)) == program
    assert find_program("", str(tmp_path)) == program
    assert program_version(program) == "9.9.9"
    with pytest.raises(EngineError, match="not installed") as caught:
        find_program("", str(tmp_path / "none"))
    assert caught.value.failure == "config"
    assert "npm install" in caught.value.hint


def test_program_inside_a_python_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "claude_agent_sdk" / "_bundled"
    inside.mkdir(parents=True)
    (inside.parent / "__init__.py").write_text("raise RuntimeError('it need not be imported')\n")
    (inside / "claude").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_program("", str(tmp_path / "none")) == inside / "claude"
