"""The dependencies of a plan drawn as a tree of lines, each task once.

Imports proto and siblings. Invariant: every task that is drawn hangs below one that it waits for, the last of those
with the most before them; what else it waits for is named beside it. Nothing is wider than asked for.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pto_cli.render import clean, count, levels
from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

MAX_LINES = 60
"""Lines of one picture; nobody follows more, and the rest is counted."""
MAX_ALSO = 3
"""Further dependencies named beside a task."""
_ARROW = " \u2192 "
_LAST, _NEXT, _THROUGH, _BLANK = "\u2514\u2500 ", "\u251c\u2500 ", "\u2502  ", "   "


class _Hanging(NamedTuple):
    """Where each task hangs."""

    tops: list[TaskId]
    below: dict[TaskId, list[TaskId]]
    also: dict[TaskId, list[TaskId]]
    """What a task waits for beside the one that it hangs below."""


def tree_lines(plan: Plan, width: int) -> list[str]:
    """The picture, at most ``width`` columns wide and ``MAX_LINES`` lines high."""
    hanging = _hang(plan.tasks, levels(plan))
    lines: list[str] = []
    drawn = 0
    stack = [(name, "", "") for name in reversed(hanging.tops)]
    while stack and len(lines) < MAX_LINES:
        name, lead, indent = stack.pop()
        line, names = _chain(hanging, name, lead, width)
        children = hanging.below.get(names[-1], [])
        drawn += len(names)
        lines.append(line)
        if len(indent) + len(_NEXT) > width // 2 and children:
            lines.append(_cut(f"{indent}{_LAST}...", width))
            continue
        for at, child in reversed([*enumerate(children)]):
            is_last = at == len(children) - 1
            stack.append((child, indent + (_LAST if is_last else _NEXT), indent + (_BLANK if is_last else _THROUGH)))
    if drawn < len(plan.tasks):
        lines.append(f"and {count(len(plan.tasks) - drawn, 'task')} more")
    return lines


def _hang(tasks: Sequence[TaskSpec], by_level: list[list[TaskId]]) -> _Hanging:
    depth = {name: level for level, names in enumerate(by_level) for name in names}
    hanging = _Hanging([], {}, {})
    for spec in tasks:
        before = list(dict.fromkeys(spec.depends_on))
        if not before:
            hanging.tops.append(spec.id)
            continue
        deepest = max(reversed(before), key=depth.__getitem__)
        hanging.below.setdefault(deepest, []).append(spec.id)
        if len(before) > 1:
            hanging.also[spec.id] = [name for name in before if name != deepest]
    return hanging


def _chain(hanging: _Hanging, name: TaskId, lead: str, width: int) -> tuple[str, list[TaskId]]:
    """A line that begins with this task, and the tasks on it: those that follow one by one, as far as they fit."""
    line, names = lead + _label(hanging, name), [name]
    while True:
        below = hanging.below.get(names[-1], [])
        longer = line + _ARROW + _label(hanging, below[0]) if len(below) == 1 else ""
        if not longer or len(longer) > width:
            return _cut(line, width), names
        line = longer
        names.append(below[0])


def _label(hanging: _Hanging, name: TaskId) -> str:
    also = hanging.also.get(name, [])
    more = [f"{len(also) - MAX_ALSO} more"] if len(also) > MAX_ALSO else []
    shown = ", ".join(map(clean, [*also[:MAX_ALSO], *more]))
    return f"{clean(name)} (also after {shown})" if also else clean(name)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."
