"""Path patterns: ``*`` and ``?`` within one name, ``[...]`` for characters, ``**`` for any number of folders.

Imports the standard library only. Invariant: matching looks at names alone, never at a file system.
"""

from __future__ import annotations

import re
from functools import lru_cache

WILDCARDS = "*?["


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    while pattern.startswith("./"):
        pattern = pattern[2:]
    parts = pattern.rstrip("/").split("/")
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            text += _name(part) + ("" if last else "/")
    # A plain name at the end may be a folder: all that is below it is meant then.
    if pattern.endswith("/"):
        text += "/.*"
    elif not any(char in parts[-1] for char in WILDCARDS):
        text += "(?:/.*)?"
    return re.compile(text + r"\Z", re.DOTALL)


def _name(part: str) -> str:
    text, rest = "", part
    while rest:
        char, rest = rest[0], rest[1:]
        end = rest.find("]", 1) if char == "[" else -1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif end > 0:
            text += _characters(rest[:end])
            rest = rest[end + 1 :]
        else:
            text += re.escape(char)
    return text


def _characters(inside: str) -> str:
    negated = inside[:1] in ("!", "^")
    chars = inside[1:] if negated else inside
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", chars)
    return "(?!/)[" + ("^" if negated else "") + escaped + "]"


def matches(pattern: str, path: str) -> bool:
    """Whether ``path`` matches; a pattern whose last name has no wildcard also matches all that lies below it.

    A pattern that makes no sense, such as ``[z-a]``, matches only itself.
    """
    try:
        return _compiled(pattern).match(path) is not None
    except re.error:
        return pattern == path
