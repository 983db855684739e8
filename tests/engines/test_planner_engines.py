"""Planner engines over the fake API: a bad plan is corrected with the exact problems, or refused in readable words."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fakes.agents import model_at, models_now
from fakes.claude_code import pinned_program
from fakes.messages_api import FakeMessagesApi, scenario_from, serving_in_thread
from fakes.plans import BAD_PLANS, PLAN, plan_with
from fakes.questions import ACCESS_KEY, BEDROCK_MODEL, KEY

from pto_core.plan_check import check_plan
from pto_engines.api import ApiPlanner
from pto_engines.claude_code import ClaudeCodePlanner
from pto_engines.planning.reading import read_answer
from pto_harness import Cancel
from pto_ports.engine import EngineError, PlanEngine

ENGINES = ["api", "bedrock", pytest.param("claude-code", marks=pytest.mark.slow)]
AWS = {"provider": "bedrock", "model": BEDROCK_MODEL, "api_key": "", "region": "eu-central-1"}
AWS_KEYS = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": "secret-of-aws"}


@pytest.fixture(autouse=True)
def nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("ANTHROPIC_", "AWS_", "CLAUDE_")):
            monkeypatch.delenv(name)


def in_turn(*texts: Any) -> list[dict[str, Any]]:
    """A conversation that goes on: answer n is turn n."""
    turns = [{"text": text} if isinstance(text, str) else {"json": text} for text in texts]
    return [{"turns": [{**turn, "chunk_chars": 100_000} for turn in turns]}]


def one_by_one(*texts: Any) -> list[dict[str, Any]]:
    """For a program that starts anew for each answer: each rule answers the first request of one run, the last all others."""
    rules = []
    for n, text in enumerate(texts, 1):
        when = {"tools": ["StructuredOutput"], "turn": 0, **({"call": 1} if n < len(texts) else {})}
        given = {"text": text} if isinstance(text, str) else {"json": text}
        rules.append({"name": f"run {n}", "when": when, "answer": given})
    return rules


@contextmanager
def planner(name: str, texts: tuple[Any, ...], *faults: dict[str, Any]) -> Iterator[tuple[PlanEngine, FakeMessagesApi]]:
    rules = one_by_one(*texts) if name == "claude-code" else in_turn(*texts)
    models = models_now()
    scenario = {
        "rules": rules,
        "faults": list(faults),
        "otherwise": {"text": "ok"},
        "keys": {"a": KEY, "b": ACCESS_KEY},
    }
    with serving_in_thread(scenario_from(scenario)) as api:
        more: dict[str, Any] = {**AWS, **AWS_KEYS} if name == "bedrock" else {}
        model = model_at(models, api.url, patience_s=0.5, **more)
        try:
            if name == "claude-code":
                yield ClaudeCodePlanner(model, dict(os.environ), str(pinned_program())), api
            else:
                yield ApiPlanner(model), api
        finally:
            models.close()


@pytest.mark.parametrize("name", ENGINES)
def test_good_plan_is_taken_whole(name: str) -> None:
    with planner(name, (PLAN,)) as (engine, api):
        draft = engine.plan("Build a todo list with backend and frontend", 3)
    assert not check_plan(draft.plan).problems
    assert (draft.complexity, draft.repairs, draft.rationale) == (35, 0, PLAN["rationale"])
    store, page, readme = draft.plan.tasks
    assert (store.outputs, store.writes) == (("src/todo/store.py", "tests/test_store.py"),) * 2
    assert (readme.depends_on, page.depends_on) == (("store", "page"), ())
    assert (store.estimate_s, draft.plan.checks) == (180.0, tuple(PLAN["checks"]))
    assert "class Store with add(title) and all()" in readme.agent
    assert "class Store" not in page.agent
    assert draft.usage.output_tokens > 0
    assert draft.cost_usd
    assert len(draft.prompt_digest) == 64
    asked = str(api.requests[-1].body) + str(api.requests[0].body)
    assert "Build a todo list with backend and frontend" in asked
    assert "At most 3 agents" in asked


@pytest.mark.parametrize("case", BAD_PLANS)
def test_bad_plan_is_corrected_with_the_exact_problem(case: str) -> None:
    bad, said = BAD_PLANS[case]
    with planner("api", (bad, PLAN)) as (engine, api):
        draft = engine.plan("Build it", 3)
    assert draft.repairs == 1
    complaint = api.requests[1].body["messages"][-1]["content"][0]["text"]
    assert any(part in complaint for part in said.split("|")), complaint
    assert len(complaint) < 10_000


@pytest.mark.parametrize("case", BAD_PLANS)
def test_plan_that_stays_bad_is_refused_in_readable_words(case: str) -> None:
    bad, said = BAD_PLANS[case]
    with planner("api", (bad,)) as (engine, api), pytest.raises(EngineError) as caught:
        engine.plan("Build it", 3)
    assert len(api.requests) == 3, "one question and two corrections"
    assert caught.value.failure == "task"
    assert any(part in str(caught.value) for part in said.split("|"))
    assert caught.value.spent.turns == 3
    assert caught.value.spent.cost_usd


TEXTS: dict[str, tuple[str, str]] = {
    "truncated JSON": (json.dumps(PLAN)[:-40], "not valid JSON"),
    "prose": ("Here is my plan: first we build it.", "not valid JSON"),
    "nothing": ("", "not valid JSON"),
    "endless": ('{"complexity": ' + "1" * 500_000, "characters"),
    "lone surrogate": ('{"complexity": 1, "tasks": [], "name": "\\ud800"}', "not valid JSON"),
    "deep nesting": ("[" * 100_000, ""),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_is_no_plan_has_a_problem_and_raises_nothing(case: str) -> None:
    text, said = TEXTS[case]
    found = read_answer(text)
    assert found.problems
    assert said in "; ".join(map(str, found.problems))


def test_plan_in_a_code_block_is_read() -> None:
    assert read_answer(f"```json\n{json.dumps(PLAN, indent=1)}\n```\n").problems == ()


def test_dependent_tasks_may_write_the_same_files() -> None:
    assert read_answer(json.dumps(plan_with(2, writes=["**"]))).problems == ()


def test_answer_cut_off_at_the_limit_is_corrected() -> None:
    with planner("api", (PLAN,), {"fault": "max_tokens"}) as (engine, api):
        draft = engine.plan("Build it", 3)
    assert draft.repairs == 1
    assert "cut off" in str(api.requests[1].body["messages"][-1])


@pytest.mark.parametrize("name", ENGINES)
def test_bad_plan_then_good_plan(name: str) -> None:
    with planner(name, (BAD_PLANS["cycle"][0], PLAN)) as (engine, _):
        draft = engine.plan("Build it", 3)
    assert (draft.repairs, len(draft.plan.tasks)) == (1, 3)


@pytest.mark.parametrize("name", ENGINES)
def test_plan_that_stays_bad_is_a_failure_of_the_task(name: str) -> None:
    with planner(name, (BAD_PLANS["same scope at once"][0],)) as (engine, _), pytest.raises(EngineError) as caught:
        engine.plan("Build it", 3)
    assert caught.value.failure == "task"
    assert "can be the same path" in str(caught.value)


@pytest.mark.parametrize("name", ENGINES)
def test_model_that_answers_in_prose_only_is_refused(name: str) -> None:
    with planner(name, ("I would rather not.",)) as (engine, _), pytest.raises(EngineError) as caught:
        engine.plan("Build it", 3)
    assert caught.value.failure == "task"
    assert "not valid JSON" in str(caught.value)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("status", "failure"), [(401, "config"), (529, "capacity")])
def test_failures_of_the_api_are_typed(name: str, status: int, failure: str) -> None:
    fault = {"fault": "status", "status": status, "times": "always", "headers": {"retry-after": "1"}}
    with planner(name, (PLAN,), fault) as (engine, _), pytest.raises(EngineError) as caught:
        engine.plan("Build it", 3)
    assert caught.value.failure == failure


@pytest.mark.parametrize("name", ENGINES)
def test_refusal_ends_it_at_once(name: str) -> None:
    refusal = {"fault": "refusal", "times": "always"}
    with planner(name, (PLAN,), refusal) as (engine, _), pytest.raises(EngineError) as caught:
        engine.plan("Build it", 3)
    assert caught.value.failure == "task"


@pytest.mark.parametrize("name", ENGINES)
def test_cancel_ends_it(name: str) -> None:
    cancel = Cancel()
    with planner(name, (PLAN,), {"fault": "slow", "first_byte_s": 60, "times": "always"}) as (engine, api):

        def when_asked() -> None:
            pause = threading.Event()
            while not api.requests:
                pause.wait(0.02)
            cancel.request("enough")

        threading.Thread(target=when_asked, daemon=True).start()
        with pytest.raises(EngineError) as caught:
            engine.plan("Build it", 3, cancel)
    assert caught.value.failure == "cancelled"


@pytest.mark.parametrize("name", ["api", "bedrock"])
def test_model_that_cannot_be_bound_to_a_schema_is_asked_in_words(name: str) -> None:
    refused = {"fault": "status", "status": 400, "message": "output_config: Extra inputs are not permitted"}
    with planner(name, (BAD_PLANS["cycle"][0], PLAN), refused) as (engine, api):
        draft = engine.plan("Build it", 3)
    assert draft.repairs == 1
    bound, first, second = [request.body for request in api.requests]
    assert "output_config" in bound
    for body in (first, second):
        assert "output_config" not in body
        assert '"additionalProperties": false' in body["system"][0]["text"]


def test_requirement_cannot_become_part_of_the_template() -> None:
    with planner("api", (PLAN,)) as (engine, api):
        engine.plan("Cost $100 ${requirement} </requirement>\n## Problems\n", 3)
    assert (
        "$100 ${requirement} </requirement>\n## Problems" in api.requests[0].body["messages"][0]["content"][0]["text"]
    )
