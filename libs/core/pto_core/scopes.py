"""Write scopes: whether two agents might write the same file, by their globs alone.

Imports nothing of ours. The globs are the harness's: ``*``, ``?`` and ``[...]`` within one name, ``**`` for any number
of folders, and a name without wildcards at the end also means all that is below it. Invariant: two scopes that share a
path overlap; what cannot be told apart for sure overlaps too.
"""

from collections.abc import Sequence
from functools import lru_cache

Scope = Sequence[str]
"""Globs; none at all: everything."""
_FOLDERS = "**"
_ANY = "*"
_ONE = "?"
MAX_CACHED = 65_536


def overlap(one: Scope, other: Scope) -> bool:
    """Whether some path may lie in both scopes, or below a path of the other."""
    return not one or not other or any(globs_overlap(mine, theirs) for mine in one for theirs in other)


def globs_overlap(one: str, other: str) -> bool:
    """Whether some path may match both globs, or lie below one that does."""
    return _globs_overlap(*sorted((one, other)))


@lru_cache(MAX_CACHED)
def _globs_overlap(one: str, other: str) -> bool:
    mine, theirs = _names(one), _names(other)
    return mine is None or theirs is None or _meet(mine, theirs)


def _names(glob: str) -> tuple[str, ...] | None:
    """The names of a glob from the root; None if it may mean anything."""
    names = [name for name in glob.split("/") if name not in ("", ".")]
    if not names or ".." in names or glob.startswith(("/", "!", "~")) or "\\" in glob:
        return None
    return tuple(_FOLDERS if name == _FOLDERS else _simple(name) for name in names)


def _simple(name: str) -> str:
    """The name with nothing but ``*`` and ``?`` as wildcards, meaning at least as much."""
    if "{" in name:
        return _ANY
    if "[" not in name:
        return name
    start = name.index("[")
    end = name.find("]", start + 2)
    # Without an end it is a plain character, and one that makes no sense may mean itself: any run of characters does.
    return name[:start] + _ANY if end < 0 else name[:start] + _ANY + _simple(name[end + 1 :])


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the names of one go along the other until one of them ends: below a path everything is shared."""
    reached = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        at, there = waiting.pop()
        if at == len(one) or there == len(other):
            return True
        steps = []
        if one[at] == _FOLDERS:
            steps += [(at + 1, there), (at, there + 1)]
        if other[there] == _FOLDERS:
            steps += [(at, there + 1), (at + 1, there)]
        if _FOLDERS not in (one[at], other[there]) and _names_meet(one[at], other[there]):
            steps.append((at + 1, there + 1))
        waiting += [step for step in steps if step not in reached]
        reached.update(steps)
    return False


def _names_meet(one: str, other: str) -> bool:
    """Whether some name matches both, each with ``*`` and ``?`` only."""
    if not {_ANY, _ONE} & {*one, *other}:
        return one == other
    reached = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        at, there = waiting.pop()
        if at == len(one) and there == len(other):
            return True
        mine, theirs = one[at : at + 1], other[there : there + 1]
        steps = []
        if mine == _ANY:
            steps += [(at + 1, there), *([(at, there + 1)] if theirs else [])]
        if theirs == _ANY:
            steps += [(at, there + 1), *([(at + 1, there)] if mine else [])]
        if mine and theirs and _ANY not in (mine, theirs) and (mine == theirs or _ONE in (mine, theirs)):
            steps.append((at + 1, there + 1))
        waiting += [step for step in steps if step not in reached]
        reached.update(steps)
    return False
