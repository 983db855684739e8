"""Which files a plan's inputs mean: globs relative to the plan file, confined to its folder.

Imports core, proto and the harness' pattern rules, so that here and in a workspace the same files match. Invariant: no
file outside the plan's folder is ever named, whatever links lie in it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pto_core.merge import refused_path
from pto_harness.globs import WILDCARDS, matches
from pto_harness.limits import JUNK_FOLDERS
from pto_proto.plans import Plan, Problem

MAX_INPUT_FILES = 100_000
"""Files one run may bring; more is a mistake, such as a glob over a home folder."""
MAX_LOOKED_AT = 1_000_000
"""Files looked at to find them; above it a glob starts too far up."""


class TooMany(Exception):
    """More files than anybody means."""


def input_globs(plan: Plan) -> Iterator[tuple[str, str]]:
    """(place, glob) of all inputs of a plan."""
    yield from ((f"inputs[{at}]", glob) for at, glob in enumerate(plan.inputs))
    for number, spec in enumerate(plan.tasks):
        yield from ((f"tasks[{number}].inputs[{at}]", glob) for at, glob in enumerate(spec.inputs))


def resolve_inputs(globs: Iterable[tuple[str, str]], base: Path) -> tuple[list[tuple[str, Path]], list[Problem]]:
    """(path in the workspace, file) for every file that a glob names, sorted, and what is wrong with the globs."""
    folder = _Folder(base.resolve())
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    known: dict[str, str] = {}
    for place, glob in globs:
        if glob not in known:
            known[glob] = _resolve_one(folder, glob, files)
        if known[glob]:
            problems.append(Problem(where=place, what=known[glob]))
    if len(files) > MAX_INPUT_FILES:
        what = f"the inputs are {len(files)} files; at most {MAX_INPUT_FILES} are possible"
        problems.append(Problem(where="inputs", what=what))
    return sorted(files.items()), problems


def match_stored(globs: Iterable[tuple[str, str]], paths: Sequence[str]) -> list[Problem]:
    """What is wrong with globs of a plan whose input files are stored already, under these paths."""
    known: dict[str, bool] = {}
    problems = []
    for place, glob in globs:
        if glob not in known:
            known[glob] = any(matches(glob, path) for path in paths)
        if not known[glob]:
            what = f"{glob!r} matches no input file that was stored when the run was asked for"
            problems.append(Problem(where=place, what=what))
    return problems


def _resolve_one(folder: "_Folder", glob: str, files: dict[str, Path]) -> str:
    """Adds the files of one glob; returns what is wrong, if anything."""
    try:
        found = {path: file for path, file in folder.below(_fixed_part(glob)) if matches(glob, path)}
    except TooMany:
        return f"{glob!r} looks at more than {MAX_LOOKED_AT} files; let it start further down"
    except OSError as error:
        return f"{glob!r} cannot be read: {error.strerror}"
    if not found:
        return f"{glob!r} matches no file below {folder.base}"
    for path, file in found.items():
        refused = refused_path(path)
        if refused:
            return f"{path!r} cannot be an input: {refused}"
        if not file.resolve().is_relative_to(folder.base):
            return f"{path!r} is a link that leads out of the plan's folder"
        if not os.access(file, os.R_OK):
            return f"{path!r} cannot be read"
    files.update(found)
    return ""


def _fixed_part(glob: str) -> str:
    """The folders (or the file) before the first wildcard."""
    parts = [part for part in glob.split("/") if part not in ("", ".")]
    fixed = []
    for part in parts:
        if any(char in part for char in WILDCARDS):
            break
        fixed.append(part)
    return "/".join(fixed)


class _Folder:
    """Lists files below a folder, each part of it once."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._listed: dict[str, list[tuple[str, Path]]] = {}
        self._looked_at = 0

    def below(self, part: str) -> list[tuple[str, Path]]:
        """(path, file) of the file ``part``, or of all files below the folder ``part``."""
        if part not in self._listed:
            start = self.base / part
            if start.is_file():
                self._listed[part] = [(part, start)]
            else:
                self._listed[part] = list(self._walk(start)) if start.resolve().is_relative_to(self.base) else []
        return self._listed[part]

    def _walk(self, start: Path) -> Iterator[tuple[str, Path]]:
        for at, folders, names in os.walk(start):
            folders[:] = sorted(name for name in folders if name not in JUNK_FOLDERS)
            self._looked_at += len(names)
            if self._looked_at > MAX_LOOKED_AT:
                raise TooMany
            here = Path(at)
            for name in names:
                file = here / name
                if file.is_file():
                    yield file.relative_to(self.base).as_posix(), file
