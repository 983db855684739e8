"""Reads scenarios: YAML (or what is made of it) into `Scenario`, or one clear sentence per mistake.

May import the scenario only. Invariant: a scenario that was read cannot fail later for a reason that was visible in it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from .scenario import (
    TEXT_TESTS,
    Answer,
    AnyFault,
    CutFault,
    MalformedFault,
    MaxTokensFault,
    Regex,
    Scenario,
    SlowFault,
    StatusFault,
    StreamErrorFault,
    When,
)
from .wording import STATUS_OF_TYPE

FAULTS = "status, cut, stream_error, malformed, slow, refusal or max_tokens"


class ScenarioMistake(ValueError):
    """The scenario cannot be used; the writer of the scenario mends it. One line per mistake: where, what."""


def read_scenario(path: Path) -> Scenario:
    """Raise `ScenarioMistake` for a file that is missing, no YAML, or no scenario."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioMistake(f"{path}: cannot be read: {error.strerror}") from None
    return scenario_from_yaml(text, str(path))


def scenario_from_yaml(text: str, source: str = "scenario") -> Scenario:
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioMistake(f"{source}: line {line} is no YAML: {error.problem}") from None
    return scenario_from(data, source)


def scenario_from(data: Any, source: str = "scenario") -> Scenario:
    """A scenario from plain values, such as a test writes them."""
    if not isinstance(data, dict):
        raise ScenarioMistake(
            f"{source}: a scenario is a mapping with rules, faults, ... and not {type(data).__name__}"
        )
    try:
        scenario = msgspec.convert(data, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioMistake(f"{source}: {_sentence(str(error))}") from None
    mistakes = [f"{source}: {mistake}" for mistake in _mistakes(scenario)]
    if mistakes:
        raise ScenarioMistake("\n".join(mistakes))
    return scenario


def _sentence(message: str) -> str:
    """``Expected `int`, got `str` - at `$.faults[0].status``` with the place first."""
    what, _, place = message.rpartition(" - at ")
    if not what:
        what, place = message, "$"
    place = place.strip("`").removeprefix("$").removeprefix(".") or "the scenario"
    if place.endswith(".fault") or "required field `fault`" in what:
        what = f"fault must be {FAULTS}"
    return f"{place}: {what[0].lower()}{what[1:]}"


def _mistakes(scenario: Scenario) -> Iterator[str]:
    if not scenario.rules and not scenario.otherwise and not scenario.faults:
        yield "it has neither rules nor faults nor otherwise; write at least one"
    for index, rule in enumerate(scenario.rules):
        place = f"rules[{index}]"
        if (rule.answer is None) == (not rule.turns):
            yield f"{place}: give either answer or turns"
        for answer, where in [(rule.answer, f"{place}.answer")] if rule.answer else _numbered(rule.turns, place):
            yield from _answer_mistakes(answer, where)
        yield from _when_mistakes(rule.when, f"{place}.when", scenario)
    for name, key in scenario.keys.items():
        if not key:
            yield f"keys.{name}: a key must not be empty"
    if scenario.otherwise:
        yield from _answer_mistakes(scenario.otherwise, "otherwise")
    for index, fault in enumerate(scenario.faults):
        yield from _fault_mistakes(fault, f"faults[{index}]")
        yield from _when_mistakes(fault.when, f"faults[{index}].when", scenario)


def _numbered(answers: list[Answer], place: str) -> list[tuple[Answer, str]]:
    return [(answer, f"{place}.turns[{number}]") for number, answer in enumerate(answers)]


def _answer_mistakes(answer: Answer, place: str) -> Iterator[str]:
    if answer.chunk_chars < 1:
        yield f"{place}.chunk_chars: must be at least 1"
    yield from _time_mistakes(answer, place)
    if answer.stop_sequence is not None and answer.stop_reason not in (None, "stop_sequence"):
        yield f"{place}: stop_sequence goes with stop_reason stop_sequence"


def _time_mistakes(paced: Answer | SlowFault, place: str) -> Iterator[str]:
    if paced.first_byte_s < 0 or paced.between_s < 0:
        yield f"{place}: times must not be negative"


def _when_mistakes(when: When, place: str, scenario: Scenario) -> Iterator[str]:
    for name in TEXT_TESTS:
        test = getattr(when, name)
        if isinstance(test, Regex):
            try:
                re.compile(test.regex)
            except re.error as error:
                yield f"{place}.{name}.regex: no regular expression: {error}"
    for name in ("turn", "call"):
        test = getattr(when, name)
        if isinstance(test, tuple) and test[0] > test[1]:
            yield f"{place}.{name}: the first number must not be greater than the second"
    if when.call is not None and (when.call if isinstance(when.call, int) else when.call[0]) < 1:
        yield f"{place}.call: the first call is number 1"
    if when.tools and when.no_tools:
        yield f"{place}: tools and no_tools exclude each other"
    if when.key is not None and when.key not in scenario.keys:
        yield f"{place}.key: {when.key} is not among keys"


def _fault_mistakes(fault: AnyFault, place: str) -> Iterator[str]:
    if fault.times is not None and fault.for_s is not None:
        yield f"{place}: give times or for_s, not both"
    if isinstance(fault.times, int) and fault.times < 1:
        yield f"{place}.times: must be at least 1"
    if fault.for_s is not None and fault.for_s <= 0:
        yield f"{place}.for_s: must be more than 0"
    if isinstance(fault, StatusFault) and not 400 <= fault.status <= 599:
        yield f"{place}.status: must be from 400 to 599"
    if isinstance(fault, StreamErrorFault) and fault.type not in STATUS_OF_TYPE:
        yield f"{place}.type: must be one of {', '.join(sorted(STATUS_OF_TYPE))}"
    if isinstance(fault, CutFault | StreamErrorFault | MalformedFault) and fault.after_events < 0:
        yield f"{place}.after_events: must not be negative"
    if isinstance(fault, SlowFault):
        yield from _time_mistakes(fault, place)
    if isinstance(fault, MaxTokensFault) and fault.keep_chars is not None and fault.keep_chars < 0:
        yield f"{place}.keep_chars: must not be negative"
