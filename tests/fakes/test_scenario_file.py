"""Scenario files: what is read, and one clear sentence for each mistake."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from .messages_api import ScenarioMistake, read_scenario, scenario_from, scenario_from_yaml
from .messages_api.question import Question
from .messages_api.scenario import When
from .messages_api.script import Script, captures_of
from .questions import HELLO, MODEL, WRITE_TOOL

FOLDER = Path(__file__).parent / "messages_api"

MISTAKES: list[tuple[str, str]] = [
    ("rules: [", "s.yaml: line 1 is no YAML: "),
    ("- a", "s.yaml: a scenario is a mapping with rules, faults, ... and not list"),
    ("{}", "s.yaml: it has neither rules nor faults nor otherwise; write at least one"),
    ("rulez: []", "s.yaml: the scenario: object contains unknown field `rulez`"),
    ("rules: [{answer: {txt: a}}]", "s.yaml: rules[0].answer: object contains unknown field `txt`"),
    ("rules: [{answer: {text: 3}}]", "s.yaml: rules[0].answer.text: expected `str | null`, got `int`"),
    ("rules: [{when: {turn: 0}}]", "s.yaml: rules[0]: give either answer or turns"),
    ("rules: [{answer: {text: a}, turns: [{text: b}]}]", "s.yaml: rules[0]: give either answer or turns"),
    ("rules: [{turns: [{text: a, chunk_chars: 0}]}]", "s.yaml: rules[0].turns[0].chunk_chars: must be at least 1"),
    ("otherwise: {stop_reason: done}", "s.yaml: otherwise.stop_reason: invalid enum value 'done'"),
    ("otherwise: {text: a, between_s: -1}", "s.yaml: otherwise: times must not be negative"),
    ("otherwise: {stop_reason: end_turn, stop_sequence: x}", "s.yaml: otherwise: stop_sequence goes with"),
    (
        "rules: [{when: {system: {regex: '('}}, answer: {}}]",
        "s.yaml: rules[0].when.system.regex: no regular expression",
    ),
    ("rules: [{when: {turn: [2, 1]}, answer: {}}]", "s.yaml: rules[0].when.turn: the first number must not be greater"),
    ("rules: [{when: {call: 0}, answer: {}}]", "s.yaml: rules[0].when.call: the first call is number 1"),
    ("rules: [{when: {tools: [a], no_tools: true}, answer: {}}]", "s.yaml: rules[0].when: tools and no_tools exclude"),
    ("faults: [{fault: cut, when: {key: k}}]", "s.yaml: faults[0].when.key: k is not among keys"),
    (
        "faults: [{fault: explode}]",
        "s.yaml: faults[0].fault: fault must be status, cut, stream_error, malformed, slow,",
    ),
    ("faults: [{status: 529}]", "s.yaml: faults[0]: fault must be status, cut, stream_error, malformed, slow,"),
    ("faults: [{fault: status}]", "s.yaml: faults[0]: object missing required field `status`"),
    ("faults: [{fault: status, status: 200}]", "s.yaml: faults[0].status: must be from 400 to 599"),
    ("faults: [{fault: cut, times: 2, for_s: 3}]", "s.yaml: faults[0]: give times or for_s, not both"),
    ("faults: [{fault: cut, times: 0}]", "s.yaml: faults[0].times: must be at least 1"),
    ("faults: [{fault: cut, for_s: 0}]", "s.yaml: faults[0].for_s: must be more than 0"),
    ("faults: [{fault: cut, after_events: -1}]", "s.yaml: faults[0].after_events: must not be negative"),
    ("faults: [{fault: stream_error, type: tired}]", "s.yaml: faults[0].type: must be one of api_error, "),
    ("faults: [{fault: slow, between_s: -1}]", "s.yaml: faults[0]: times must not be negative"),
    ("faults: [{fault: max_tokens, keep_chars: -1}]", "s.yaml: faults[0].keep_chars: must not be negative"),
    ("{otherwise: {text: a}, keys: {k: ''}}", "s.yaml: keys.k: a key must not be empty"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_mistake_gets_one_sentence_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ScenarioMistake) as caught:
        scenario_from_yaml(text, "s.yaml")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_all_mistakes_in_what_is_said_come_at_once() -> None:
    with pytest.raises(ScenarioMistake) as caught:
        scenario_from({"rules": [{}], "faults": [{"fault": "status", "status": 1}]})
    assert len(str(caught.value).splitlines()) == 2


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ScenarioMistake, match="cannot be read: No such file"):
        read_scenario(tmp_path / "absent.yaml")


def test_example_of_the_readme_and_its_tables_are_true() -> None:
    text = (FOLDER / "README.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    scenario_from_yaml(example, "README.md")
    for field in msgspec.structs.fields(When):
        assert f"`{field.name}`" in text


QUESTION = Question(
    endpoint="messages",
    api="anthropic",
    model=MODEL,
    stream=True,
    keys=("canary",),
    body={
        "system": [{"type": "text", "text": "You plan."}],
        "tools": [WRITE_TOOL],
        "messages": [
            {"role": "user", "content": "task: api"},
            {"role": "system", "content": "be brief"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "write_file", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "no disk"}]}
                ],
            },
        ],
    },
)
CONDITIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model": "sonnet"}, {"model": "opus"}),
    ({"system": "plan"}, {"system": "execute"}),
    ({"system": "be brief"}, {"first_user": "be brief"}),
    ({"anywhere": ["You plan", "task", "disk"]}, {"anywhere": ["You plan", "write"]}),
    ({"first_user": ["task", "api"]}, {"first_user": ["task", "ui"]}),
    ({"last_user": "disk"}, {"last_user": "task"}),
    ({"last_user": {"regex": "^no"}}, {"last_user": {"regex": "^disk"}}),
    ({"tools": ["write_file"]}, {"tools": ["write_file", "Bash"]}),
    ({"turn": 1}, {"turn": 0}),
    ({"turn": [1, 4]}, {"turn": [2, 4]}),
    ({"stream": True}, {"stream": False}),
    ({"key": "canary"}, {"key": "other"}),
    ({"api": "anthropic"}, {"api": "bedrock"}),
    ({"endpoint": "any"}, {"endpoint": "count_tokens"}),
    ({}, {"no_tools": True}),
]


@pytest.mark.parametrize(("holds", "fails"), CONDITIONS, ids=[str(fails) for _, fails in CONDITIONS])
def test_condition_holds_or_fails(holds: dict[str, Any], fails: dict[str, Any]) -> None:
    assert captures_of(msgspec.convert(holds, When), QUESTION) == {}
    assert captures_of(msgspec.convert(fails, When), QUESTION) is None


def test_rule_for_a_call_counts_the_requests_that_meet_its_other_conditions() -> None:
    rules = [{"when": {"call": [2, 3]}, "answer": {"text": "later"}}, {"answer": {"text": "else"}}]
    script = Script(scenario_from({"rules": rules}), lambda: 0.0)
    replies = [script.reply(QUESTION) for _ in range(4)]
    assert [reply.answer.text for reply in replies if reply] == ["else", "later", "later", "else"]


def test_scenario_made_in_a_test_is_the_one_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hello.yaml"
    path.write_text(yaml.safe_dump(HELLO))
    assert read_scenario(path) == scenario_from(HELLO)
