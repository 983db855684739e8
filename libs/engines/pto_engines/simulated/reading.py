"""Reads a requirement: which kind of project it asks for, how complex it is, and what things it names.

Imports the standard library only. Invariant: the answer depends on the text alone; every text has one, even an
empty one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pto_engines.simulated.catalogue import Family, families, known_fields, word_list
from pto_engines.simulated.limits import MAX_NOUNS
from pto_engines.simulated.names import is_name, safe_noun, singular, title_of, words_of

FEATURES = word_list("features")
"""Words that name one more part of a project."""
WIDER = word_list("wider")
SMALLER = word_list("smaller")
PER_FEATURE, MOST_FEATURES = 2, 20
PER_WIDER, MOST_WIDER = 4, 8
PER_SMALLER = 8
WORDS_PER_POINT, MOST_FOR_LENGTH = 60, 12
WORDLESS = 3
"""Complexity of a text without a word: there is nothing to do but a single small thing."""
BANDS = ((0, 25, 1, 3), (25, 50, 4, 8), (50, 75, 9, 15), (75, 101, 16, 24))
"""From and below which complexity there are how many tasks: the table "Choosing the Right Budget"."""

NOT_THINGS = word_list("not_things")
SHORT = word_list("short")
"""Words of two letters that say something."""
NO_PACKAGE = word_list("no_package")
"""Words that say nothing about a project, or that would make the name of a known library."""


@dataclass(frozen=True)
class Reading:
    """What the engine understood."""

    title: str
    package: str
    family: Family
    complexity: int
    tasks: int
    things: tuple[str, ...]
    """Names for the records of the project, the most fitting first; more than most projects need."""
    wants_login: bool


def read(requirement: str) -> Reading:
    """Understand a requirement."""
    text = " ".join(requirement.split()).lower()
    words = words_of(requirement)
    family = next(found for found in families().values() if re.search(found.words, text))
    complexity = _complexity(family, words)
    return Reading(
        title=title_of(requirement),
        package=_package(words),
        family=family,
        complexity=complexity,
        tasks=task_count(complexity),
        things=tuple(dict.fromkeys(_things(family, words))),
        wants_login=bool({"auth", "authentication", "login", "accounts", "oauth", "jwt"} & set(words)),
    )


def task_count(complexity: int) -> int:
    """N for a complexity of 0-100: the band's range, filled evenly."""
    for low, beyond, least, most in BANDS:
        if complexity < beyond:
            return least + (complexity - low) * (most - least + 1) // (beyond - low)
    raise ValueError(f"complexity {complexity} is above 100")


def _complexity(family: Family, words: list[str]) -> int:
    if not words:
        return WORDLESS
    named = set(words)
    points = family.base + min(MOST_FEATURES, PER_FEATURE * len(named & FEATURES))
    points += min(MOST_WIDER, PER_WIDER * len(named & WIDER)) - PER_SMALLER * bool(named & SMALLER)
    points += min(MOST_FOR_LENGTH, len(named) // WORDS_PER_POINT)
    return max(0, min(100, points))


def _package(words: list[str]) -> str:
    """The import name: two words from the text, so that no module of Python or of a library has it."""
    fitting = re.sub(r"\bto do\b", "todo", " ".join(words)).split()
    kept = [word for word in fitting if (is_name(word) or word in SHORT) and word not in NO_PACKAGE][:2]
    if kept == ["calculator"]:
        return "calculator"
    return "_".join(kept) if len(kept) == 2 else (kept[0] if kept else "project") + "_app"


def _things(family: Family, words: Iterable[str]) -> Iterable[str]:
    known: Mapping[str, str] = known_fields()
    nouns = list(dict.fromkeys(singular(word) for word in words if is_name(word) and word not in NOT_THINGS))
    nouns = [noun for noun in nouns if noun not in NOT_THINGS]
    if family.nouns:
        yield from (noun for noun in nouns if noun in known)
    if family.name in ("simple", "web"):
        yield from (safe_noun(noun) for noun in nouns[:MAX_NOUNS] if noun not in known)
    yield from family.entities
    yield from (noun for noun in nouns if noun in known)
    yield from sorted(known)
