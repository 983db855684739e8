"""Stand-ins for tasks that are not from a simulated plan: a person's own plan, or one that was edited.

Imports the standard library only (TaskSpec is a type here). Invariant: no path leads outside the workspace, and
each glob of the outputs is matched by one file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pto_engines.simulated.names import title_of
from pto_engines.simulated.rendering import MARK, template

if TYPE_CHECKING:
    from pto_proto.plans import TaskSpec


def stand_ins(spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """(path, text) of one file per output glob; without outputs and writes, a note under docs/."""
    word = re.sub(r"\W+", "_", spec.id.lower())
    for glob in spec.outputs or spec.writes or (f"docs/{spec.id}.md",):
        path = concrete(glob, word)
        if not path.is_absolute() and ".." not in path.parts:
            yield path.as_posix(), _content(spec, path)


def concrete(glob: str, word: str) -> PurePosixPath:
    """A path that a glob matches: ``src/**/*.py`` -> ``src/task.py``."""
    text = re.sub(r"\*\*/", "", glob)
    if text.endswith(("/", "*")):
        text = text.rstrip("*") + "*.md"
    text = re.sub(r"\[([^]!])[^]]*\]", r"\1", text)
    return PurePosixPath(re.sub(r"\*+", word, text).replace("?", "x"))


def _content(spec: TaskSpec, path: PurePosixPath) -> str:
    title = title_of(spec.title or spec.id)
    if path.suffix == ".py":
        name = "base/unknown_test.py" if path.name.startswith("test_") else "base/unknown.py"
        return template(name).substitute(title=title, mark=MARK, task_literal=json.dumps(spec.id))
    if path.suffix == ".json":
        return json.dumps({"simulated": True, "task": spec.id, "mark": MARK}, indent=2) + "\n"
    return f"# {title}\n\n{MARK}\n\nThe engine has no template for task {spec.id}; this file stands for its result.\n"
