"""Whom a red check may be traced to, in the order in which they are put into the merged trees of the search.

Imports core and proto only. Invariant: it depends on the plan, on who made which file and on the check's output alone.
The search finds the last one in this order that the failure needs, so the order says who is believed first.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pto_core.consolidation import place_of
from pto_core.state import Run, Task
from pto_proto.ids import TaskId
from pto_proto.manifests import Tree, TreeFile

TESTS = "tests/"
MIN_NAME_CHARS = 4
"""A shorter path is found in any output."""


class Suspects(NamedTuple):
    """The agents that made files, the least suspect first."""

    order: tuple[TaskId, ...]
    needs: Mapping[TaskId, int]
    """Task -> how many of the order must be in a tree before its files are; 0: they always are."""

    def trees(self, made: Mapping[TaskId, Sequence[TreeFile]], count: int) -> list[Tree]:
        """What is merged when the first ``count`` suspects are in: a tree for each task's own files."""
        return [Tree(files=tuple(files)) for task, files in made.items() if self.needs[task] <= count]


def suspects_of(run: Run, made: Mapping[TaskId, Sequence[TreeFile]], output: str) -> Suspects:
    """The suspects of a failure with this output.

    Who made tests only comes first: a failing test speaks against what it tests. Whose files the output names comes
    last, the one named last at the very end, because that is where programs say it broke. Otherwise dependencies come
    first. A command's files depend on what it saw, so they are in as soon as all agents above it are.
    """
    tasks = _dependencies_first(run)
    agents = [task.spec.id for task in tasks if task.spec.agent and made.get(task.spec.id)]
    suspicion = {
        name: (not _only_tests(made[name]), _last_mention(made[name], output), at) for at, name in enumerate(agents)
    }
    order = tuple(sorted(agents, key=suspicion.__getitem__))
    place = {name: at for at, name in enumerate(order, 1)}
    above: dict[TaskId, int] = {}
    for task in tasks:
        name = task.spec.id
        above[name] = max([place.get(name, 0), *(above[before] for before in task.spec.depends_on)])
    return Suspects(order, {name: place.get(name, above[name]) for name in above})


def _only_tests(files: Sequence[TreeFile]) -> bool:
    return all(place_of(file.path).startswith(TESTS) for file in files)


def _last_mention(files: Sequence[TreeFile], output: str) -> int:
    """Where the output names one of the files for the last time; -1: nowhere."""
    return max(output.rfind(name) for file in files for name in _names(file.path))


def _names(path: str) -> list[str]:
    """As programs write it: with its folder, without the first one, or with dots."""
    _, _, rest = path.partition("/")
    names = [path, rest]
    if path.endswith(".py"):
        names += [name.removesuffix(".py").replace("/", ".") for name in (path, rest) if "/" in name]
    return [name for name in names if len(name) >= MIN_NAME_CHARS] or [path]


def _dependencies_first(run: Run) -> list[Task]:
    """In plan order as far as that goes."""
    waiting = [len(set(task.spec.depends_on)) for task in run.tasks]
    ready = [at for at, count in enumerate(waiting) if not count]
    for at in ready:
        for child in run.graph.children[at]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return [run.tasks[at] for at in ready]
