"""The api engine's own loop: its tools, its limits, and models that misbehave."""

import threading
from pathlib import Path
from typing import Any

import pytest
from fakes.agents import model_at, models_now
from fakes.messages_api import FakeMessagesApi, scenario_from, serving_in_thread
from fakes.questions import ACCESS_KEY, BEDROCK_MODEL
from fakes.workbench import Bench, agent_task

from pto_engines.api import ApiExecutor
from pto_engines.api.excerpt import Excerpt
from pto_ports.engine import AgentTask, AttemptDone, EngineError

Turn = dict[str, Any]
FINISH: Turn = {"calls": [{"tool": "finish", "input": {"summary": "done"}}]}


def call(tool: str, **given: Any) -> Turn:
    return {"calls": [{"tool": tool, "input": given}]}


def play(
    folder: Path,
    turns: list[Turn],
    task: AgentTask | None = None,
    *faults: dict[str, Any],
    max_cost_usd: float | None = None,
    **settings: Any,
) -> tuple[Bench, FakeMessagesApi, AttemptDone | EngineError]:
    task = task or agent_task()
    bench = Bench(folder, task.spec, max_cost_usd)
    models = models_now()
    with serving_in_thread(scenario_from({"rules": [{"turns": turns}], "faults": list(faults)})) as api:
        try:
            ended: Any = ApiExecutor(model_at(models, api.url, **settings)).execute(task, bench)
        except EngineError as error:
            ended = error
        models.close()
    return bench, api, ended


def result_after(api: FakeMessagesApi, turn: int) -> str:
    """What the agent was told after its answer of that turn."""
    return str(api.requests[turn + 1].body["messages"][-1]["content"][0])


def test_project_by_all_tools(tmp_path: Path) -> None:
    task = agent_task(outputs=("src/add.py",), checks=("python3 src/add.py",))
    turns = [
        call("list_files"),
        {
            "calls": [
                {
                    "tool": "write_file",
                    "input": {"path": "src/add.py", "content": "assert 1 + 1 == 2\nprint('fine')\n"},
                },
                {"tool": "run_command", "input": {"command": "python3 src/add.py; pwd"}},
                {"tool": "read_file", "input": {"path": "src/add.py", "from_line": 2}},
            ]
        },
        FINISH,
    ]
    bench, api, done = play(tmp_path, turns, task)
    assert isinstance(done, AttemptDone)
    assert done.summary == "done"
    assert "no files" in result_after(api, 0)
    written, ran, read = api.requests[2].body["messages"][-1]["content"]
    assert "written" in written["content"]
    assert ran["content"].startswith("exit code 0\nfine\n")
    assert read["content"] == "print('fine')\n"
    assert "Written so far: src/add.py." in bench.kept
    assert "python3 src/add.py; pwd -> exit code 0" in bench.kept


def test_bedrock_does_the_same(tmp_path: Path) -> None:
    task = agent_task(outputs=("a.py",))
    turns = [call("write_file", path="a.py", content="x"), FINISH]
    aws = {"provider": "bedrock", "model": BEDROCK_MODEL, "api_key": "", "region": "eu-central-1"}
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": "secret-of-aws"}
    _, api, done = play(tmp_path, turns, task, **aws, **keys)
    assert isinstance(done, AttemptDone)
    assert done.spent.cost_usd
    assert api.requests[0].path.endswith("/invoke-with-response-stream")


MISUSES: list[tuple[Turn, str]] = [
    (call("write_file", path="../x", content="x"), "leaves its folder"),
    (call("write_file", path="/etc/x", content="x"), "absolute"),
    (call("write_file", path="src/a.py"), "missing required field `content`"),
    (call("write_file", path=1, content="x"), "Expected `str`"),
    (call("read_file", path="none.py"), "there is no file"),
    (call("launch_rocket", now=True), "there is no tool 'launch_rocket'"),
    (call("run_command", command="exit 7"), "exit code 7"),
    (call("run_command", command="sleep 60", timeout_s=1), "time limit of 1 s"),
    (call("run_command", command="cat"), "exit code 0"),
    (call("run_command", command="printf 'a\\0b'; printf '\\377'"), "exit code 0"),
    (call("run_command", command="a\0b"), "cannot be started"),
    (call("run_command", command="yes | head -c 50000000"), "bytes left out"),
]


@pytest.mark.parametrize(("turn", "said"), MISUSES, ids=[said for _, said in MISUSES])
def test_misused_tool_is_answered_in_words_and_work_goes_on(turn: Turn, said: str, tmp_path: Path) -> None:
    _, api, done = play(tmp_path, [turn, FINISH])
    assert isinstance(done, AttemptDone)
    assert said in result_after(api, 0)
    assert len(result_after(api, 0)) < 20_000


def test_commands_do_not_see_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-7f3a")
    _, api, _ = play(tmp_path, [call("run_command", command="env; cat /proc/self/environ"), FINISH])
    assert "sk-canary-7f3a" not in str([request.body for request in api.requests])


def test_model_that_stops_without_finishing_is_asked_to_go_on_and_then_judged(tmp_path: Path) -> None:
    bench, api, ended = play(
        tmp_path, [{"text": "I think I am done."}], agent_task(outputs=("a.py",), limits={"feedback_turns": 1})
    )
    assert isinstance(ended, EngineError)
    assert bench.judged == 2
    assert "call finish" in result_after(api, 0)
    assert "a.py is missing" in result_after(api, 2)


def test_call_cut_off_at_the_limit_of_output_is_not_run(tmp_path: Path) -> None:
    fault = {"fault": "max_tokens"}
    turns = [call("write_file", path="a.py", content="x" * 400), FINISH]
    bench, api, _ = play(tmp_path, turns, None, fault)
    assert not (bench.workspace / "a.py").exists()
    assert "cut off" in str(api.requests[1].body["messages"][-1])


def test_no_progress_at_the_limit_of_output_ends_it(tmp_path: Path) -> None:
    fault = {"fault": "max_tokens", "times": "always"}
    _, api, ended = play(tmp_path, [call("write_file", path="a.py", content="x" * 400)], None, fault)
    assert isinstance(ended, EngineError)
    assert ended.failure == "task"
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("limits", "failure"),
    [
        ({"turns": 5}, "task"),
        ({"tokens": 5_000}, "budget"),
        ({"cost_usd": 0.02}, "budget"),
        ({"time_s": 1.0}, "timeout"),
    ],
)
def test_endless_agent_is_ended_by_each_limit(limits: dict[str, Any], failure: str, tmp_path: Path) -> None:
    more = {"first_byte_s": 0.1} if "time_s" in limits else {}
    turn = {**call("list_files"), "usage": {"input_tokens": 1000, "output_tokens": 100}, **more}
    bench, api, ended = play(tmp_path, [turn], agent_task(limits=limits))
    assert isinstance(ended, EngineError)
    assert ended.failure == failure
    assert 0 < len(api.requests) < 30
    assert ended.spent == bench.costs[-1]


def test_harness_can_end_it_for_the_runs_money(tmp_path: Path) -> None:
    turn = {**call("list_files"), "usage": {"input_tokens": 100_000}}
    _, api, ended = play(tmp_path, [turn], max_cost_usd=0.5)
    assert isinstance(ended, EngineError)
    assert (ended.failure, len(api.requests)) == ("budget", 3)


def test_unknown_price_is_an_unknown_cost(tmp_path: Path) -> None:
    bench, _, done = play(tmp_path, [FINISH], model="claude-new-9")
    assert isinstance(done, AttemptDone)
    assert done.spent.cost_usd is None
    assert bench.costs[-1].cost_usd is None


@pytest.mark.parametrize("reason", ["refusal", "model_context_window_exceeded"])
def test_stop_that_cannot_go_on_is_a_failure_of_the_task(reason: str, tmp_path: Path) -> None:
    _, api, ended = play(tmp_path, [{"text": "No.", "stop_reason": reason}])
    assert isinstance(ended, EngineError)
    assert (ended.failure, len(api.requests)) == ("task", 1)
    assert ended.hint


def test_conversation_is_cached_up_to_its_end(tmp_path: Path) -> None:
    turns = [*(call("write_file", path=f"{n}.py", content="x = 1\n" * 400) for n in range(4)), FINISH]
    bench, _, _ = play(tmp_path, turns)
    *_, before, last = bench.costs
    assert last.usage.cache_read_tokens > before.usage.cache_read_tokens > 0
    assert last.usage.input_tokens - before.usage.input_tokens < 50


def test_model_that_takes_no_strict_tools_gets_plain_ones(tmp_path: Path) -> None:
    refused = {"fault": "status", "status": 400, "message": "tools.0.custom.strict: Extra inputs are not permitted"}
    _, api, done = play(tmp_path, [call("list_files"), FINISH], None, refused)
    assert isinstance(done, AttemptDone)
    assert [any("strict" in tool for tool in request.body["tools"]) for request in api.requests] == [True, False, False]


def test_cancel_while_a_command_runs(tmp_path: Path) -> None:
    task = agent_task()
    bench = Bench(tmp_path, task.spec)
    models = models_now()
    turns = [call("run_command", command="touch started; sleep 60"), FINISH]

    def when_started() -> None:
        pause = threading.Event()
        while not (bench.workspace / "started").exists():
            pause.wait(0.02)
        bench.cancel.request("enough")

    threading.Thread(target=when_started, daemon=True).start()
    with serving_in_thread(scenario_from({"rules": [{"turns": turns}]})) as api, pytest.raises(EngineError) as caught:
        ApiExecutor(model_at(models, api.url)).execute(task, bench)
    models.close()
    assert (caught.value.failure, str(caught.value)) == ("cancelled", "enough")


def test_excerpt_keeps_beginning_and_end_of_any_stream() -> None:
    output = Excerpt(20)
    for number in range(1000):
        output.feed("stdout", b"%03d\n" % number)
    assert output.text().startswith("000\n001\n00")
    assert output.text().endswith("8\n999\n")
    assert "3980 bytes left out" in output.text()
    short = Excerpt(20)
    short.feed("stdout", b"0123456789abcdef")
    assert short.text() == "0123456789abcdef"
