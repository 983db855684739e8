"""Where a run's output goes: which folder, and whether it may be used.

Imports the standard library and siblings. Invariants: a folder that was not made here is never emptied; with
``--force`` its old content is moved aside whole. Two runs never get the same default folder.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pto_cli.naming import FOLDER_SLUG_CHARS, slug
from pto_cli.problems import Unavailable

DEFAULT_BASE = Path("outputs") / "parallel-orchestrator"
MAX_SUFFIX = 10_000
"""Default folders of one name; whoever has more should name them."""


@dataclass
class OutputDir:
    """A folder that is ready for a run."""

    path: Path
    is_new: bool
    old: Path | None = None
    """Where its old content went."""

    def give_back(self) -> None:
        """The run did not start: undo what was made."""
        with suppress(OSError):
            if self.is_new:
                self.path.rmdir()
            if self.old is not None:
                self.path.rmdir()
                self.old.rename(self.path)


def check_output_dir(path: Path, *, force: bool, keep: tuple[Path, ...] = ()) -> list[str]:
    """What speaks against this folder; ``keep``: files that must not be moved aside with it."""
    if path.exists() and not path.is_dir():
        return [f"--output-dir: {path} is a file; name a folder"]
    blocking = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
    if blocking is not None:
        return [f"--output-dir: {blocking} is a file; name a folder"]
    if not path.is_dir() or not os.access(path, os.R_OK) or not any(path.iterdir()):
        return []
    if not force:
        return [f"--output-dir: {path} is not empty; name another folder, or move its content aside with --force"]
    real = path.resolve()
    inside = next((kept for kept in (Path.cwd(), Path.home(), *keep) if kept.resolve().is_relative_to(real)), None)
    if inside is not None:
        return [f"--output-dir: {path} cannot be moved aside, because {inside} is in it; name another folder"]
    return []


def open_output_dir(path: Path | None, name: str) -> OutputDir:
    """The folder, made if need be; None: the next free default one. Raises Unavailable when it cannot be written."""
    try:
        if path is None:
            return _next_free(DEFAULT_BASE, slug(name, FOLDER_SLUG_CHARS))
        path = path.absolute()
        is_new = not path.exists()
        old = _move_aside(path) if not is_new and any(path.iterdir()) else None
        path.mkdir(parents=True, exist_ok=True)
        _require_writable(path)
    except OSError as error:
        raise Unavailable(f"the output folder {error.filename or path} cannot be written: {error.strerror}") from error
    return OutputDir(path, is_new, old)


def _next_free(base: Path, name: str) -> OutputDir:
    base = base.absolute()
    base.mkdir(parents=True, exist_ok=True)
    _require_writable(base)
    for number in range(1, MAX_SUFFIX):
        path = base / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return OutputDir(path, is_new=True)
    raise Unavailable(f"{base} has no free folder for {name!r}; name one with -o")


def _move_aside(path: Path) -> Path:
    real = path.resolve()
    for number in range(1, MAX_SUFFIX):
        old = real.with_name(f"{real.name}.old" if number == 1 else f"{real.name}.old-{number}")
        if not old.exists():
            real.rename(old)
            return old
    raise Unavailable(f"there are too many old versions of {path}; remove some")


def _require_writable(path: Path) -> None:
    if not os.access(path, os.W_OK | os.X_OK):
        raise Unavailable(f"the output folder {path} cannot be written; name another with -o")
