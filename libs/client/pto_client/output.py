"""How files get into an output folder.

Imports core only. Invariants: nothing is ever written outside the folder, through a link or otherwise; what is not
complete lies in ``.staging``, and ``execution_summary.json`` appears last.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from pto_core.merge import refused_path

STAGING = ".staging"
SUMMARY = "execution_summary.json"
RAW_PREFIX = "executor_"


class OutputProblem(Exception):
    """The output folder cannot be used; the message says what and what to do."""


class OutputNotWritable(OutputProblem):
    """The disk or its rights are in the way, not what was asked for."""


class Staging:
    """Files on their way into the output folder of a run.

    Use it as a context: what was not moved in by its end is removed; the note of whose it is stays beside what else is
    in the folder.
    """

    def __init__(self, folder: Path, run: str = "") -> None:
        self.folder = folder
        self._root = folder / STAGING
        self.path = self._root / "new"
        """Where the files wait, each below its later name."""
        self.scratch = self._root / "scratch"
        """For bundles, so that a small temporary folder elsewhere does not matter."""
        if self._root.is_symlink():
            self._root.unlink()
        self._discard()
        for made in (self.path, self.scratch):
            made.mkdir(parents=True)
        (self._root / "run").write_text(run)

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._discard()
            if [entry.name for entry in self.folder.iterdir()] == [STAGING]:
                shutil.rmtree(self._root)

    def target(self, path: str, *, below: str = "") -> Path:
        """Where to write the file that will be ``below/path``; its folder is made. Raises OutputProblem."""
        for part in (path, below) if below else (path,):
            reason = refused_path(part)
            if reason:
                raise OutputProblem(f"{part!r} cannot be written: {reason}")
        target = self.path / below / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def write(self, path: str, data: bytes) -> None:
        """Stage a file."""
        self.target(path).write_bytes(data)

    def move_in(self, last: str) -> None:
        """Move every entry to its place, replacing what is there; ``last`` goes in after all others."""
        names = sorted(entry.name for entry in self.path.iterdir())
        (self.folder / last).unlink(missing_ok=True)
        for name in [name for name in names if name != last] + [name for name in names if name == last]:
            self._merge(self.path / name, self.folder / name)
        shutil.rmtree(self._root, ignore_errors=True)

    def _merge(self, source: Path, target: Path) -> None:
        """A folder of raw outputs that is there already (from a live run) keeps what was not staged."""
        if target.name.startswith(RAW_PREFIX) and source.is_dir() and is_real_folder(target):
            for entry in source.iterdir():
                self._merge(entry, target / entry.name)
            return
        if is_real_folder(target):
            shutil.rmtree(target)
        elif target.exists() or target.is_symlink():
            target.unlink()
        source.rename(target)

    def _discard(self) -> None:
        for folder in (self.path, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)


def is_output_of(folder: Path, run: str) -> bool:
    """Whether ``folder`` holds this run's output, complete or on its way: fetching into it again loses nothing."""
    readers: tuple[tuple[str, Callable[[bytes], object]], ...] = (
        (f"{STAGING}/run", bytes.decode),
        (SUMMARY, lambda data: msgspec.json.decode(data)["run"]),
    )
    for name, read in readers:
        with suppress(OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError):
            if read((folder / name).read_bytes()) == run:
                return True
    return False


def is_real_folder(path: Path) -> bool:
    """Whether it is a folder and no link to one."""
    return path.is_dir() and not path.is_symlink()
