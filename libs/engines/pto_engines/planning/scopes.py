"""Whether two write scopes can meet in one path, by looking at their globs alone.

Imports the standard library. The globs are those of the harness: ``*``, ``?`` and ``[...]`` within one name, ``**``
for any number of folders, and a last name without wildcards also means all that is below it. Invariant: never says
"no" to two globs that share a path; ``[...]`` is taken for any character, so it may say "yes" too often.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

ANY_FOLDERS = "**"


def meeting(some: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """The first pair of globs that can match the same path."""
    return next(((a, b) for a, b in product(some, others) if globs_meet(a, b)), None)


@lru_cache(maxsize=65536)
def globs_meet(one: str, other: str) -> bool:
    """Whether some path matches both."""
    return _parts_meet(_parts(one), _parts(other))


def _parts(glob: str) -> tuple[str, ...]:
    text = glob.removeprefix("./")
    parts = re.sub(r"\[[^\]]*\]", "?", text).rstrip("/").split("/")
    if parts[-1] != ANY_FOLDERS and (text.endswith("/") or not set(parts[-1]) & set("*?")):
        parts.append(ANY_FOLDERS)
    return tuple(parts)


def _parts_meet(one: Sequence[str], other: Sequence[str]) -> bool:
    """Set of reachable positions in ``other`` after each part of ``one``: linear in the product of their lengths."""
    table = [[False] * (len(other) + 1) for _ in range(len(one) + 1)]
    table[0][0] = True
    for i, j in product(range(len(one) + 1), range(len(other) + 1)):
        if not table[i][j]:
            continue
        left = one[i] if i < len(one) else None
        right = other[j] if j < len(other) else None
        if left == ANY_FOLDERS or right == ANY_FOLDERS:
            # A ``**`` ends here, or takes one more part of the other side.
            table[i + (left == ANY_FOLDERS)][j + (left != ANY_FOLDERS)] = True
            if left is not None and right is not None:
                table[i + (left != ANY_FOLDERS)][j + (left == ANY_FOLDERS)] = True
        elif left is not None and right is not None and _names_meet(left, right):
            table[i + 1][j + 1] = True
    return table[len(one)][len(other)]


def _names_meet(one: str, other: str) -> bool:
    table = [[False] * (len(other) + 1) for _ in range(len(one) + 1)]
    table[0][0] = True
    for i, j in product(range(len(one) + 1), range(len(other) + 1)):
        if not table[i][j]:
            continue
        left = one[i] if i < len(one) else ""
        right = other[j] if j < len(other) else ""
        if left == "*":
            table[i + 1][j] = True
            if right and right != "*":
                table[i][j + 1] = True
        if right == "*":
            table[i][j + 1] = True
            if left and left != "*":
                table[i + 1][j] = True
        if left and right and "*" not in (left, right) and (left == right or "?" in (left, right)):
            table[i + 1][j + 1] = True
    return table[len(one)][len(other)]
