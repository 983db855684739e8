"""What every executor engine keeps to, by the port: simulated, api and claude-code, the last two over the fake Messages API."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.agents import API, CLAUDE_CODE, SIMULATED, USAGE, Kind, Writes, model_at, models_now, text_below
from fakes.messages_api import FakeMessagesApi, scenario_from, serving_in_thread
from fakes.questions import ACCESS_KEY, BEDROCK_MODEL, KEY
from fakes.workbench import Bench, agent_task, files

from pto_ports.engine import AgentTask, AttemptDone, EngineError

KINDS = [SIMULATED, API, pytest.param(CLAUDE_CODE, marks=pytest.mark.slow)]
ASKING = KINDS[1:]
AT_ONCE = {"retry-after": "0"}
CODE: Writes = [("src/calc.py", "x = 1\n")]
FOREVER_S = 60.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, kinds in (("kind", KINDS), ("asking", ASKING)):
        if name in metafunc.fixturenames:
            ids = ["claude-code" if not isinstance(kind, Kind) else kind.name for kind in kinds]
            metafunc.parametrize(name, kinds, ids=ids)


@pytest.fixture(autouse=True)
def nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("ANTHROPIC_", "AWS_", "CLAUDE_")):
            monkeypatch.delenv(name)


class Ran:
    def __init__(self, bench: Bench, api: FakeMessagesApi, done: AttemptDone | None, error: EngineError | None) -> None:
        self.bench = bench
        self.api = api
        self.done = done
        self.error = error
        self.files = files(bench.workspace)

    @property
    def failure(self) -> str:
        assert self.error is not None, "it should not have succeeded"
        return self.error.failure


@contextmanager
def serving(kind: Kind, first: Writes, second: Writes, faults: list[dict[str, Any]]) -> Iterator[FakeMessagesApi]:
    rules = kind.rules(first, second) if kind.rules else []
    scenario = {"rules": rules, "faults": faults, "keys": {"canary": KEY}, "otherwise": {"text": "ok"}}
    with serving_in_thread(scenario_from(scenario)) as api:
        yield api


def run(
    kind: Kind,
    folder: Path,
    task: AgentTask,
    first: Writes = CODE,
    second: Writes = (),
    *,
    faults: list[dict[str, Any]] | None = None,
    cancel_when_asked: bool = False,
    before: dict[str, str] | None = None,
) -> Ran:
    bench = Bench(folder, task.spec)
    for path, text in (before or {}).items():
        (bench.workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.workspace / path).write_text(text)
    models = models_now()
    with serving(kind, first, second, faults or []) as api:
        engine = kind.make(model_at(models, api.url, patience_s=0.5), dict(os.environ))
        if cancel_when_asked:
            threading.Thread(target=cancel_after_first_request, args=(kind, api, bench), daemon=True).start()
            if kind is SIMULATED:
                bench.cancel.request("enough")
        try:
            return Ran(bench, api, engine.execute(task, bench), None)
        except EngineError as error:
            return Ran(bench, api, None, error)
        finally:
            models.close()


def cancel_after_first_request(kind: Kind, api: FakeMessagesApi, bench: Bench) -> None:
    pause = threading.Event()
    while not api.requests:
        pause.wait(0.02)
    bench.cancel.request("enough")


def test_files_of_the_task_are_made(kind: Kind, tmp_path: Path) -> None:
    task = agent_task(outputs=("src/calc.py",), writes=("src/**",), checks=("test -s src/calc.py",))
    ran = run(kind, tmp_path, task)
    assert ran.error is None
    assert list(ran.files) == ["src/calc.py"]
    assert ran.bench.judged == 1


def test_what_is_outside_of_the_scope_is_not_written(kind: Kind, tmp_path: Path) -> None:
    task = agent_task(outputs=("src/calc.py", "docs/calc.md"), writes=("src/**",), limits={"feedback_turns": 1})
    outside = tmp_path / "outside.txt"
    wanted = [("docs/calc.md", "no"), ("inherited.txt", "no"), (str(outside), "no"), ("../escape.txt", "no"), *CODE]
    ran = run(kind, tmp_path, task, wanted, before={"inherited.txt": "theirs"})
    assert ran.failure == "task", "an output that may not be written is missing"
    assert set(ran.files) == {"src/calc.py", "inherited.txt"}
    assert ran.files["inherited.txt"] == "theirs"
    assert not outside.exists()
    assert not (tmp_path / "escape.txt").exists()


def test_failed_check_goes_back_and_the_corrected_work_is_taken(kind: Kind, tmp_path: Path) -> None:
    once = "test -f seen || { touch seen; echo wrong-is-this; exit 1; }"
    task = agent_task(outputs=("src/calc.py",), checks=(once,))
    ran = run(kind, tmp_path, task, CODE, [("src/calc.py", "x = 2\n")])
    assert ran.error is None
    assert ran.bench.judged == 2
    if kind is not SIMULATED:
        assert ran.files["src/calc.py"] == "x = 2\n"
        assert any("wrong-is-this" in str(request.body) for request in ran.api.requests)


def test_work_that_is_never_accepted_is_a_failure_of_the_task_however_done_the_agent_says_it_is(
    kind: Kind, tmp_path: Path
) -> None:
    task = agent_task(outputs=("src/calc.py",), checks=("exit 1",), limits={"feedback_turns": 1})
    ran = run(kind, tmp_path, task)
    assert ran.failure == "task"
    assert ran.bench.judged == 2


def test_agent_that_writes_nothing_and_says_done_is_a_failure(asking: Kind, tmp_path: Path) -> None:
    task = agent_task(outputs=("src/calc.py",), limits={"feedback_turns": 1})
    ran = run(asking, tmp_path, task, [])
    assert ran.failure == "task"
    assert "missing" in str(ran.error)


def test_cancel_ends_it(kind: Kind, tmp_path: Path) -> None:
    slow = {"fault": "slow", "first_byte_s": FOREVER_S, "times": "always"}
    ran = run(kind, tmp_path, agent_task(outputs=("src/calc.py",)), faults=[slow], cancel_when_asked=True)
    assert ran.failure == "cancelled"


def test_time_limit_ends_it(kind: Kind, tmp_path: Path) -> None:
    slow = {"fault": "slow", "first_byte_s": FOREVER_S, "times": "always"}
    limit_s = 0.0 if kind is SIMULATED else 1.5
    ran = run(kind, tmp_path, agent_task(outputs=("src/calc.py",), limits={"time_s": limit_s}), faults=[slow])
    assert ran.failure == "timeout"


@pytest.mark.parametrize("status", [429, 529])
def test_capacity_is_no_failure_of_the_task_and_says_when_to_try_again(
    asking: Kind, status: int, tmp_path: Path
) -> None:
    fault = {"fault": "status", "status": status, "times": "always", "headers": {"retry-after": "1"}}
    ran = run(asking, tmp_path, agent_task(outputs=("src/calc.py",)), faults=[fault])
    assert ran.error is not None
    assert ran.failure == "capacity"
    assert ran.error.retry_after_s > 0


@pytest.mark.parametrize(("status", "hint"), [(401, "ANTHROPIC_API_KEY"), (403, "access"), (404, "model id")])
def test_configuration_error_says_what_to_do(asking: Kind, status: int, hint: str, tmp_path: Path) -> None:
    fault = {"fault": "status", "status": status, "times": "always", "headers": AT_ONCE}
    ran = run(asking, tmp_path, agent_task(outputs=("src/calc.py",)), faults=[fault])
    assert ran.error is not None
    assert ran.failure == "config"
    assert hint in ran.error.hint


def test_refusal_is_a_failure_of_the_task(asking: Kind, tmp_path: Path) -> None:
    ran = run(asking, tmp_path, agent_task(outputs=("src/calc.py",)), faults=[{"fault": "refusal", "times": "always"}])
    assert ran.failure == "task"


def test_passing_faults_are_lived_through(asking: Kind, tmp_path: Path) -> None:
    faults: list[dict[str, Any]] = [
        {"fault": "status", "status": 529, "headers": AT_ONCE},
        {"fault": "cut", "where": "within", "when": {"turn": 1}},
    ]
    ran = run(asking, tmp_path, agent_task(outputs=("src/calc.py",)), faults=faults)
    assert ran.error is None
    assert list(ran.files) == ["src/calc.py"]


def test_usage_and_cost_are_reported(asking: Kind, tmp_path: Path) -> None:
    ran = run(asking, tmp_path, agent_task(outputs=("src/calc.py",)))
    assert ran.done is not None
    spent = ran.done.spent
    assert (spent.turns, spent.usage.output_tokens, spent.usage.cache_read_tokens) == (2, 20, 2000)
    assert spent.usage.input_tokens == 2 * USAGE["input_tokens"]
    assert spent.cost_usd == pytest.approx((200 * 2 + 20 * 10 + 2000 * 0.1 + 100 * 2.5) / 1e6)
    assert ran.bench.costs[-1] == spent
    assert len(ran.done.prompt_digest) == 64


def test_what_was_spent_before_a_failure_is_reported_too(asking: Kind, tmp_path: Path) -> None:
    ran = run(asking, tmp_path, agent_task(outputs=("none.py",), limits={"feedback_turns": 0}))
    assert ran.error is not None
    assert ran.error.spent.turns == 2
    assert ran.error.spent.cost_usd


def test_money_limit_ends_it(asking: Kind, tmp_path: Path) -> None:
    task = agent_task(outputs=("none.py",), limits={"cost_usd": 0.0001})
    ran = run(asking, tmp_path, task)
    assert ran.failure == "budget"


def test_unknown_price_with_a_money_limit_is_a_configuration_error(asking: Kind, tmp_path: Path) -> None:
    task = agent_task(outputs=("src/calc.py",), limits={"cost_usd": 1.0})
    bench = Bench(tmp_path, task.spec)
    models = models_now()
    with serving(asking, CODE, (), []) as api, pytest.raises(EngineError, match="price") as caught:
        asking.make(model_at(models, api.url, model="claude-new-9"), dict(os.environ)).execute(task, bench)
    models.close()
    assert caught.value.failure == "config"
    assert api.requests == []


def test_unicode_in_names_and_contents(kind: Kind, tmp_path: Path) -> None:
    name, text = "docs/Übersicht 計算.md", "# Rechnen und 計算 🧮\n"
    task = agent_task(
        "Baue 計算機 🧮", title="Größe", agent="Schreibe und «alles».", outputs=(name,), writes=("docs/**",)
    )
    ran = run(kind, tmp_path, task, [(name, text)])
    assert ran.error is None
    assert list(ran.files) == [name]
    if kind is not SIMULATED:
        assert ran.files[name] == text


def test_notes_and_evidence_of_earlier_attempts_are_shown(asking: Kind, tmp_path: Path) -> None:
    task = agent_task(outputs=("src/calc.py",), notes="remember-the-milk", evidence="the-merge-was-red")
    ran = run(asking, tmp_path, task, before={"src/half.py": "half"})
    assert ran.error is None
    asked = str(ran.api.requests[0].body) + str(ran.api.answered[-1].body)
    for part in ("remember-the-milk", "the-merge-was-red", "src/half.py"):
        assert part in asked
    assert ran.bench.kept


def test_no_secret_in_any_file_argument_log_or_prompt(asking: Kind, tmp_path: Path) -> None:
    for faults in ([], [{"fault": "status", "status": 401, "times": "always", "message": f"bad key {KEY}"}]):
        ran = run(asking, tmp_path / str(len(faults)), agent_task(outputs=("src/calc.py",)), faults=faults)
        told = [*ran.bench.notes, ran.bench.kept, str(ran.done), str(ran.error), repr(vars(ran.error or Ran))]
        told += [text_below(tmp_path), *(" ".join(map(str, argv)) for argv, _ in ran.bench.programs)]
        assert not [text for text in told if KEY in text]
        assert not [request.leaked for request in ran.api.requests if request.leaked]


@pytest.mark.slow
def test_program_sees_nothing_but_the_listed_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_OTHER_SECRET", "other-canary")
    task = agent_task(outputs=("src/calc.py",))
    ran = run(CLAUDE_CODE, tmp_path, task)
    (_, environment), *_ = ran.bench.programs
    assert "MY_OTHER_SECRET" not in environment
    assert environment["ANTHROPIC_API_KEY"] == KEY
    assert Path(environment["HOME"]).is_relative_to(ran.bench.scratch)


@pytest.mark.slow
def test_program_asks_bedrock_with_keys_that_were_resolved_for_it(tmp_path: Path) -> None:
    task = agent_task(outputs=("src/calc.py",))
    bench = Bench(tmp_path, task.spec)
    models = models_now()
    aws = {"provider": "bedrock", "model": BEDROCK_MODEL, "api_key": "", "region": "eu-central-1"}
    keys = {
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": "secret-of-aws",
        "aws_session_token": "token-of-aws",
    }
    scenario = {"rules": CLAUDE_CODE.rules(CODE), "keys": {"aws": ACCESS_KEY}, "otherwise": {"text": "ok"}}  # type: ignore[misc]
    with serving_in_thread(scenario_from(scenario)) as api:
        done = CLAUDE_CODE.make(model_at(models, api.url, **aws, **keys), dict(os.environ)).execute(task, bench)
    models.close()
    assert done.spent.cost_usd
    assert {request.keys for request in api.requests} == {("aws",)}
    # At its start it asks other models one token each, to see which the account has; nothing switches that off.
    assert {request.model for request in api.requests if request.stream} == {BEDROCK_MODEL}
    told = text_below(tmp_path) + str(bench.notes) + str([argv for argv, _ in bench.programs])
    assert not [secret for secret in (ACCESS_KEY, "secret-of-aws", "token-of-aws") if secret in told]
