"""Reads a plan file and says everything that is wrong with it at once, each with its line and place.

Imports core and siblings. Invariant: a ``LoadedPlan`` is a plan that the scheduler takes and whose input files exist;
anything else is a ``PlanFileError`` and nothing was changed anywhere.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from pto_client import plan_shape
from pto_client.plan_inputs import input_globs, match_stored, resolve_inputs
from pto_client.plan_shape import place, salvage, shape_plan, to_plan
from pto_client.plan_text import Format, NotReadable, PlanText
from pto_core.limits import MAX_PROBLEMS
from pto_core.matrix import expand
from pto_core.plan_check import check_plan
from pto_proto.plans import Plan, Problem

MAX_PLAN_BYTES = 64 * 1024 * 1024
"""100,000 tasks of 600 bytes; more is not a plan written by hand or script."""
_Files = list[tuple[str, Path]]
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class PlanFileError(Exception):
    """The plan file is wrong: the author's fault; the same file will not do. ``problems`` is never empty."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class LoadedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it was written, the same with its matrices written out, and the files that its inputs name."""

    plan: Plan
    expanded: Plan
    inputs: tuple[tuple[str, Path], ...]


def read_plan_file(path: Path) -> LoadedPlan:
    """The plan in this YAML or JSON file. Raises PlanFileError."""
    return _read(path, lambda globs: resolve_inputs(globs, path.parent))


def read_edited_plan(path: Path, stored: Sequence[str]) -> Plan:
    """The plan in this file, for a run whose input files are stored under these paths. Raises PlanFileError."""
    return _read(path, lambda globs: ([], match_stored(globs, stored))).plan


def _read(path: Path, resolve: Callable[[Iterable[tuple[str, str]]], tuple[_Files, list[Problem]]]) -> LoadedPlan:
    text = PlanText(*_read_text(path))
    report = _Report(path, text)
    try:
        data, repeats = text.read()
    except NotReadable as error:
        raise PlanFileError([report.problem(error.line, str(error))]) from error
    for repeat in repeats:
        report.add(repeat, "is said twice; keep one")
    if data is None:
        report.add((), "the file is empty; a plan needs a list of tasks")
        report.finish()
    shaped = shape_plan(data, report.add)
    if report.found:
        shaped = salvage(shaped)
        if shaped is None:
            report.finish()
    plan = to_plan(shaped)
    expanded, problems = check_plan(plan)
    report.add_apart([(_path_of(problem.where), problem.what) for problem in problems])
    files: _Files = []
    if not any(problem.where == "tasks" or ".matrix" in problem.where for problem in problems):
        sources = expand(plan.tasks).sources
        files, missing = resolve(input_globs(expanded))
        report.add_apart([(_written(_path_of(problem.where), sources), problem.what) for problem in missing])
    report.finish()
    return LoadedPlan(plan=plan, expanded=expanded, inputs=tuple(files))


def _read_text(path: Path) -> tuple[str, Format]:
    try:
        if path.is_dir():
            raise PlanFileError([Problem(where=str(path), what="is a folder; name the plan file in it")])
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise PlanFileError([Problem(where=str(path), what=f"is larger than {MAX_PLAN_BYTES} bytes")])
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise PlanFileError([Problem(where=str(path), what="there is no such file")]) from error
    except OSError as error:
        raise PlanFileError([Problem(where=str(path), what=f"cannot be read: {error.strerror}")]) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise PlanFileError([Problem(where=str(path), what="is not UTF-8 text")]) from error
    suffix = path.suffix.lower()
    is_json = suffix == ".json" or (suffix not in (".yaml", ".yml") and text.lstrip().startswith("{"))
    return text, "JSON" if is_json else "YAML"


def _path_of(where: str) -> plan_shape.Path:
    return tuple(name or int(number) for name, number in _STEP.findall(where))


def _written(path: plan_shape.Path, sources: tuple[int, ...]) -> plan_shape.Path:
    """The same place in the plan as it was written, before its matrices were written out."""
    if len(path) > 1 and path[0] == "tasks" and isinstance(path[1], int):
        return (path[0], sources[path[1]], *path[2:])
    return path


class _Report:
    """Collects problems by place, each place once, and raises them sorted by line."""

    def __init__(self, file: Path, text: PlanText) -> None:
        self._file = file
        self._text = text
        self.found: dict[tuple[plan_shape.Path, str], None] = {}

    def add(self, path: plan_shape.Path, what: str) -> None:
        """Note a problem at this place."""
        self.found.setdefault((path, what))

    def add_apart(self, problems: list[tuple[plan_shape.Path, str]]) -> None:
        """Note those that lie apart from the places known to be wrong: the others may only follow from them."""
        wrong = {path for path, _ in self.found}
        above = {path[:end] for path in wrong for end in range(1, len(path))}
        for path, what in problems:
            if path not in above and not any(path[:end] in wrong for end in range(1, len(path) + 1)):
                self.add(path, what)

    def problem(self, line: int, what: str, where: str = "") -> Problem:
        at = f"{self._file}:{line}" if line else str(self._file)
        return Problem(where=f"{at}: {where}" if where else at, what=what)

    def finish(self) -> None:
        """Raise PlanFileError if anything was added."""
        if not self.found:
            return
        lines = [(self._text.line(path), place(path), what) for path, what in self.found]
        lines.sort(key=lambda found: found[0])
        problems = [self.problem(line, what, where) for line, where, what in lines[:MAX_PROBLEMS]]
        if len(lines) > MAX_PROBLEMS:
            problems.append(self.problem(0, f"{len(lines) - MAX_PROBLEMS} more problems"))
        raise PlanFileError(problems)
