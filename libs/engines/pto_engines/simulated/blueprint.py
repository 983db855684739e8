"""The blueprint of a project: which tasks there are, what each one writes, and what it builds on.

Imports the standard library only. Invariant: planner and executor draw the same blueprint from the same
requirement, every file belongs to exactly one task, and tasks depend only on tasks before them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pto_engines.simulated.folding import direct, fold, in_order, needs_of
from pto_engines.simulated.limits import MAX_DRAWN
from pto_engines.simulated.parts import Part, choose
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
    return assemble(read(requirement))


def assemble(reading: Reading) -> Blueprint:
    """The blueprint for what was read."""
    parts = choose(reading)
    homes = fold(parts, reading.tasks)
    needs = needs_of(parts, homes)
    ids = {part.key: part.id for part in parts}
    tasks = []
    for key in in_order(needs):
        members = [part for part in parts if homes[part.key] == key]
        members.sort(key=lambda part, head=key: (part.kind == DOCS, part.key != head))  # type: ignore[misc]
        task = _task(members, reading, foundation=not needs[key])
        before = direct(needs, key)
        tasks.append(replace(task, depends_on=tuple(ids[need] for need in needs if need in before)))
    return Blueprint(reading, tuple(tasks))


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
