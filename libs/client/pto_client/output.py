"""How files get into an output folder.

Imports core only. Invariant: nothing is ever written outside the folder, through a link or otherwise; what is not
complete lies in ``.staging``, and ``execution_summary.json`` appears last.
"""

import shutil
from pathlib import Path

from pto_core.merge import refused_path

STAGING = ".staging"
SUMMARY = "execution_summary.json"


class OutputProblem(Exception):
    """The output folder cannot be used; the message says what and what to do."""


class OutputNotWritable(OutputProblem):
    """The disk or its rights are in the way, not what was asked for."""


class Staging:
    """Files on their way into an output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / STAGING
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def target(self, path: str) -> Path:
        """Where to write the file that will be ``path``; its folder is made. Raises OutputProblem."""
        reason = refused_path(path)
        if reason:
            raise OutputProblem(f"{path!r} cannot be written: {reason}")
        target = self.path / path
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
        shutil.rmtree(self.path, ignore_errors=True)

    def _merge(self, source: Path, target: Path) -> None:
        """A folder that is there already (raw outputs of a live run) keeps what was not staged."""
        if source.is_dir() and target.is_dir() and not target.is_symlink() and target.name.startswith("executor_"):
            for entry in source.iterdir():
                self._merge(entry, target / entry.name)
            return
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif target.exists() or target.is_symlink():
            target.unlink()
        source.rename(target)
