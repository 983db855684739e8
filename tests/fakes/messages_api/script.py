"""Plays a scenario: which rule answers a request, and which fault it meets.

May import the scenario and the question. Invariant: without ``call``, ``times`` and ``for_s`` the answer depends on the request
alone, so that requests may come in any order and any number at once.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from .question import Question
from .scenario import TEXT_TESTS, Answer, AnyFault, Fault, NumberTest, Regex, Rule, Scenario, TextTest, When

Captures = dict[str, str]
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Reply:
    answer: Answer
    rule: str


class Script:
    """One playing of a scenario; ``now`` gives seconds that never go back."""

    def __init__(self, scenario: Scenario, now: Callable[[], float]) -> None:
        self.scenario = scenario
        self._now = now
        self._calls: Counter[tuple[int, str]] = Counter()
        self._hits: Counter[tuple[int, str]] = Counter()
        self._since: dict[tuple[int, str], float] = {}

    def reply(self, question: Question) -> Reply | None:
        """The answer of the first rule that matches; None when no rule does."""
        for index, rule in enumerate(self.scenario.rules):
            captures = captures_of(rule.when, question)
            if captures is None or not self._is_its_call(index, rule, question):
                continue
            answer = rule.answer or rule.turns[min(question.turn, len(rule.turns) - 1)]
            return Reply(_filled(answer, captures), rule.name or f"rules[{index}]")
        return Reply(self.scenario.otherwise, "otherwise") if self.scenario.otherwise else None

    def fault(self, question: Question) -> Fault | None:
        """The first fault that matches and is not used up; taking it uses it."""
        for index, fault in enumerate(self.scenario.faults):
            if captures_of(fault.when, question) is not None and self._strikes(index, fault, question):
                return fault
        return None

    def _is_its_call(self, index: int, rule: Rule, question: Question) -> bool:
        if rule.when.call is None:
            return True
        counter = (index, question.conversation if rule.per == "conversation" else "")
        self._calls[counter] += 1
        return holds_number(rule.when.call, self._calls[counter])

    def _strikes(self, index: int, fault: AnyFault, question: Question) -> bool:
        counter = (index, question.conversation if fault.per == "conversation" else "")
        self._calls[(-1 - index, counter[1])] += 1
        if fault.when.call is not None and not holds_number(fault.when.call, self._calls[(-1 - index, counter[1])]):
            return False
        if fault.for_s is not None:
            return self._now() - self._since.setdefault(counter, self._now()) < fault.for_s
        if fault.times != "always" and self._hits[counter] >= (fault.times or 1):
            return False
        self._hits[counter] += 1
        return True


def captures_of(when: When, question: Question) -> Captures | None:
    """None when a condition other than ``call`` does not hold; else the named groups of its expressions."""
    if when.endpoint not in ("any", question.endpoint) or when.api not in (None, question.api):
        return None
    if when.stream not in (None, question.stream) or (when.key is not None and when.key not in question.keys):
        return None
    if (when.no_tools and question.tools) or not set(when.tools) <= set(question.tools):
        return None
    if when.turn is not None and not holds_number(when.turn, question.turn):
        return None
    captures: Captures = {}
    for name in TEXT_TESTS:
        test = getattr(when, name)
        found = {} if test is None else _found(test, getattr(question, name))
        if found is None:
            return None
        captures |= found
    return captures


def holds_number(test: NumberTest, number: int) -> bool:
    return test == number if isinstance(test, int) else test[0] <= number <= test[1]


def _found(test: TextTest, text: str) -> Captures | None:
    if isinstance(test, Regex):
        match = re.search(test.regex, text)
        return None if match is None else {name: value or "" for name, value in match.groupdict().items()}
    wanted = [test] if isinstance(test, str) else test
    return {} if all(part in text for part in wanted) else None


def _filled(answer: Answer, captures: Captures) -> Answer:
    if not captures:
        return answer
    return msgspec.convert(_replaced(msgspec.to_builtins(answer), captures), Answer)


def _replaced(value: Any, captures: Captures) -> Any:
    """Named groups in place of ``${name}``; what names no group stays, since scripted code may use the same signs."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda match: captures.get(match[1], match[0]), value)
    if isinstance(value, list):
        return [_replaced(part, captures) for part in value]
    if isinstance(value, dict):
        return {_replaced(key, captures): _replaced(part, captures) for key, part in value.items()}
    return value
