"""The blueprint of a project: which tasks there are, what each one writes, and what it builds on.

Imports the standard library only. Invariant: planner and executor draw the same blueprint from the same
requirement, every file belongs to exactly one task, and tasks depend only on tasks before them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pto_engines.simulated.limits import MAX_DRAWN
from pto_engines.simulated.parts import Part, choose, fold
from pto_engines.simulated.reading import Reading, read

DOCS = "base.docs"
FOUNDATION = ("__init__.py", "pytest.ini", "conftest.py")
"""What the first task brings for all others: the package and the one configuration of the tests."""


@dataclass(frozen=True)
class File:
    """One file: where it goes, from which template, with which variables beside the project's."""

    path: str
    template: str
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Task:
    """One task."""

    id: str
    title: str
    does: str
    files: tuple[File, ...]
    depends_on: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """What the task writes."""
        return tuple(file.path for file in self.files)

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of its test modules."""
        names = (file.path.rpartition("/")[2] for file in self.files)
        return tuple(name[:-3] for name in names if name.startswith("test_"))


@dataclass(frozen=True)
class Blueprint:
    """What was read, and the tasks in an order that respects their dependencies."""

    reading: Reading
    tasks: tuple[Task, ...]

    def task(self, identity: str) -> Task | None:
        """The task with this id, if there is one."""
        return next((task for task in self.tasks if task.id == identity), None)


@lru_cache(maxsize=MAX_DRAWN)
def draw(requirement: str) -> Blueprint:
    """The blueprint for a requirement."""
    reading = read(requirement)
    parts = choose(reading)
    homes = fold(parts, reading.tasks)
    kept = [part for part in parts if homes[part.key] == part.key]
    needed = {part.key: _homes_of(part, parts, homes) for part in kept}
    first = next(key for key in (part.key for part in kept) if not needed[key])
    for key, needs in needed.items():
        if key != first:
            needs.add(first)
    ids = {part.key: part.id for part in kept}
    tasks = []
    for key in _in_order(needed):
        members = [part for part in parts if homes[part.key] == key]
        members.sort(key=lambda part, key=key: (part.kind == DOCS, part.key != key))  # type: ignore[misc]
        task = _task(members, reading, foundation=key == first)
        direct = _direct(needed, key)
        tasks.append(replace(task, depends_on=tuple(ids[need] for need in needed if need in direct)))
    return Blueprint(reading, tuple(tasks))


def _homes_of(part: Part, parts: Sequence[Part], homes: dict[str, str]) -> set[str]:
    """The tasks that a task needs: what all parts in it need, without itself."""
    members = [member for member in parts if homes[member.key] == part.key]
    return {homes[need] for member in members for need in member.needs} - {part.key}


def _in_order(needed: dict[str, set[str]]) -> list[str]:
    """All keys, each after what it needs."""
    done: list[str] = []
    while len(done) < len(needed):
        ready = [key for key, needs in needed.items() if key not in done and needs <= set(done)]
        if not ready:
            raise ValueError(f"parts need each other in a circle: {sorted(set(needed) - set(done))}")
        done.extend(ready)
    return done


def _direct(needed: dict[str, set[str]], key: str) -> set[str]:
    """What is needed directly: without what comes along with another need."""
    beyond: set[str] = set()
    waiting = [need for other in needed[key] for need in needed[other]]
    while waiting:
        need = waiting.pop()
        if need not in beyond:
            beyond.add(need)
            waiting.extend(needed[need])
    return needed[key] - beyond


def _task(members: Sequence[Part], reading: Reading, foundation: bool) -> Task:
    head = members[0]
    files = [File(_path(name, reading.package), f"base/{name}") for name in FOUNDATION] if foundation else []
    for part in members:
        variables = tuple(sorted(part.variables.items()))
        files += [File(_path(target, reading.package), template, variables) for target, template in part.files]
    return Task(
        id=head.id,
        title=_titles([part.title for part in members]),
        does=" ".join([part.does for part in members] + ["Bring the package and the test configuration."] * foundation),
        files=tuple(files),
        depends_on=(),
    )


def _titles(titles: Iterable[str]) -> str:
    first, *others = titles
    return first + (" with " + ", ".join(title[:1].lower() + title[1:] for title in others) if others else "")


def _path(target: str, package: str) -> str:
    """Where a file belongs, by its name."""
    if target in ("README.md", "pytest.ini"):
        return target
    if target.endswith(".md"):
        return f"docs/{target}"
    if target.startswith("test_") or target == "conftest.py":
        return f"tests/{target}"
    if target.endswith((".html", ".css", ".js")):
        return f"src/{package}/static/{target}"
    return f"src/{package}/{target}"
