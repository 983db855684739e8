"""Chooses the parts of a project.

Imports the standard library only. Invariant: a chosen part's needs are chosen too, and no file
is written by two parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import Template

from pto_engines.simulated.catalogue import Kind, kinds
from pto_engines.simulated.entities import entity_variables
from pto_engines.simulated.limits import MAX_GROWTH
from pto_engines.simulated.reading import Reading

APP, APP_OPEN = "records.app", "records.app-open"
AUTH, APP_AUTH = "records.auth", "records.app-auth"
GROWTH = ("records.rules", "records.model", "records.store", "records.service", "records.audit", "records.cache")
"""What any project gets when it is to have more parts than its own kind knows."""


@dataclass(frozen=True)
class Part:
    """One part of one project."""

    key: str
    kind: str
    instance: str
    """Which one of its kind; empty if there is only one."""
    id: str
    title: str
    does: str
    files: tuple[tuple[str, str], ...]
    """Target names and templates."""
    needs: tuple[str, ...]
    fold: tuple[str, ...]
    variables: dict[str, str]


def choose(reading: Reading) -> list[Part]:
    """The parts of a project: its core, and as many others as it is to have tasks."""
    family = reading.family
    core = list(family.core)
    if reading.wants_login:
        core = [key for part in core for key in ((AUTH, APP_AUTH) if part in (APP, APP_OPEN) else (part,))]
    own = reading.things[: len(family.entities)]
    pool = _Pool(own)
    pool.add_all(core)
    pool.add_all(family.extra, most=reading.tasks)
    for more in range(1, MAX_GROWTH + 1):
        if len(pool.parts) >= reading.tasks:
            break
        pool.things = reading.things[: len(own) + more]
        pool.add_all(GROWTH, most=reading.tasks)
    return pool.linked()


class _Pool:
    """Parts as they are chosen, in the order of choice."""

    def __init__(self, things: Sequence[str]) -> None:
        self.things = tuple(things)
        self.wired = tuple(things)
        self.parts: list[Part] = []
        self._targets: set[str] = set()

    def add_all(self, selectors: Iterable[str], most: int = 1000) -> None:
        """Add what the selectors name, until there are ``most`` parts."""
        for selector in selectors:
            name, _, wanted = selector.partition(":")
            for part in _instances(kinds()[name], self.things):
                targets = {target for target, _ in part.files}
                if len(self.parts) < most and wanted in ("", part.instance) and not targets & self._targets:
                    self.parts.append(part)
                    self._targets |= targets

    def linked(self) -> list[Part]:
        """The parts with selectors replaced by the keys of parts. All build on the first one that needs nothing."""
        linked = [
            replace(part, needs=self._find(part, part.needs), fold=self._find(part, part.fold)) for part in self.parts
        ]
        foundation = next(part.key for part in linked if not part.needs)
        return [part if part.needs or part.key == foundation else replace(part, needs=(foundation,)) for part in linked]

    def _find(self, part: Part, selectors: Iterable[str]) -> tuple[str, ...]:
        found = [key for selector in selectors for key in self._matches(part, selector) if key != part.key]
        return tuple(dict.fromkeys(found))

    def _matches(self, part: Part, selector: str) -> list[str]:
        if selector == "*":
            return [other.key for other in self.parts]
        if selector == "*first":
            return [self.parts[0].key]
        name, _, which = selector.partition(":")
        same = [other for other in self.parts if other.kind == name]
        if which == "first":
            return [other.key for other in same[:1]]
        if which == "wired":
            return [other.key for other in same if other.instance in self.wired]
        if which:
            return [other.key for other in same if other.instance == which]
        own = [other.key for other in same if kinds()[name].per_entity and other.instance == part.instance]
        return own or [other.key for other in same]


def _instances(kind: Kind, things: Sequence[str]) -> Iterable[Part]:
    if kind.per_entity:
        for thing in things:
            yield _part(kind, thing, entity_variables(thing))
    elif kind.variants:
        for variant in kind.variants:
            yield _part(kind, variant["slug"], variant)
    else:
        yield _part(kind, "", entity_variables(things[0]) if things else {})


def _part(kind: Kind, instance: str, variables: dict[str, str]) -> Part:
    def fill(text: str) -> str:
        return Template(text).substitute(variables)

    folder = kind.key.partition(".")[0]
    pairs = (file.partition(" < ") for file in kind.files)
    return Part(
        key=f"{kind.key}:{instance}" if instance else kind.key,
        kind=kind.key,
        instance=instance,
        id=fill(kind.id),
        title=fill(kind.title),
        does=fill(kind.does),
        files=tuple((fill(target), f"{folder}/{fill(template or target)}") for target, _, template in pairs),
        needs=kind.needs,
        fold=kind.fold,
        variables=variables,
    )
