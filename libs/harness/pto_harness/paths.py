"""Which names may become files: the same rules as ``pto_core.merge.refused_path``, which cannot be imported here.

Imports the standard library only. Invariant: a path that passes stays below the folder it is joined to.
"""

from __future__ import annotations

from pto_harness.limits import MAX_COMPONENT_BYTES, MAX_PATH_BYTES


def refused_path(path: str) -> str | None:
    """Why ``path`` may not become a file of a workspace; None if it may."""
    if not path:
        return "the name is empty"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    parts = path.split("/")
    if size > MAX_PATH_BYTES:
        return f"the name is longer than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "the path is absolute"
    if any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in path):
        return "the name has control characters"
    if "\\" in path:
        return "the name has a backslash"
    if ".." in parts:
        return "the path leaves its folder"
    if "" in parts or "." in parts:
        return "the path is not in its shortest form"
    if any(len(part.encode()) > MAX_COMPONENT_BYTES for part in parts):
        return f"a part of the path is longer than {MAX_COMPONENT_BYTES} bytes"
    return None
