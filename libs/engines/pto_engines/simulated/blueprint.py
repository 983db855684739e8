"""What the simulated engine intends: a project as parts, each of which becomes one task and writes its own files.

Imports the standard library only. Invariant: no two parts of a blueprint write the same path, and the first part brings
what every other one needs (the package itself and the test configuration).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class File:
    """One file of a part: a template and what is filled in besides the project's own names."""

    path: str
    template: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """The work of one task."""

    id: str
    title: str
    goal: str
    """What the files do together, as an instruction."""
    files: tuple[File, ...]
    needs: tuple[str, ...] = ()
    """Ids of the parts whose modules are imported."""
    estimate_s: float = 1.0


@dataclass(frozen=True)
class Names:
    """What the project is called: in prose and in Python."""

    title: str
    package: str


@dataclass(frozen=True)
class Design:
    """What an archetype makes of its names: the parts without documentation, and how to try the result."""

    parts: tuple[Part, ...]
    try_it: str


@dataclass(frozen=True)
class Blueprint:
    """A whole project."""

    names: Names
    kind: str
    complexity: int
    signals: tuple[str, ...]
    """The words of the requirement that decided."""
    parts: tuple[Part, ...]
    try_it: str

    def part(self, task: str) -> Part | None:
        """The part that this task does, if it is one of ours."""
        return next((part for part in self.parts if part.id == task), None)


def module_files(
    names: Names, folder: str, stems: Iterable[str], values: Mapping[str, str] | None = None
) -> tuple[File, ...]:
    """Modules of the package with one test file each, both named after their templates in ``folder``."""
    given = values or {}
    files: list[File] = []
    for stem in stems:
        files.append(File(f"src/{names.package}/{stem}.py", f"{folder}/{stem}.py", given))
        files.append(File(f"tests/test_{stem}.py", f"{folder}/test_{stem}.py", given))
    return tuple(files)


def setup_files(names: Names) -> tuple[File, ...]:
    """The package and the test configuration: in the first part of every project."""
    return (
        File(f"src/{names.package}/__init__.py", "base/__init__.py"),
        File("pytest.ini", "base/pytest.ini"),
        File("tests/conftest.py", "base/conftest.py"),
    )
