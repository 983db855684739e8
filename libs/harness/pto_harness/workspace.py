"""The folder in which one attempt works: filled with what it may see, then searched for what it made.

Imports the standard library only. Invariant: nothing is written outside the folder while it is filled, and nothing but
regular files with sound names is ever taken out of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_harness.globs import matches
from pto_harness.limits import JUNK_FOLDERS, MATERIALISED_MTIME_S, MAX_FILES, MAX_REFUSED
from pto_harness.manifest import hash_file
from pto_harness.paths import refused_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class WorkspaceError(Exception):
    """The workspace cannot be filled or searched; the message says why."""


class Workspace:
    """One attempt's folder, empty at first; what was there before is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: list[str] = []
        """Names that were not taken, with the reason."""
        self._baseline: dict[str, tuple[int, str]] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def fill(self, files: Iterable[dict[str, Any]]) -> None:
        """Write each ``{"path", "mode", "bundle", "member"}`` or ``{"path", "mode", "source"}``. Raises
        WorkspaceError.
        """
        by_bundle: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for file in files:
            reason = refused_path(file["path"])
            if reason:
                raise WorkspaceError(f"{file['path']!r} cannot be put into the workspace: {reason}")
            if "bundle" in file:
                by_bundle[file["bundle"]].append(file)
            else:
                self._write(file, Path(file["source"]))
        for bundle, members in by_bundle.items():
            self._unpack(bundle, members)

    def changed(self) -> list[str]:
        """Paths of all files that are new or differ from what the workspace was filled with."""
        return [path for path in self._files(()) if not self._is_unchanged(path)]

    def matching(self, patterns: list[str]) -> tuple[list[str], list[str]]:
        """(paths that match any pattern, patterns that match nothing)."""
        found = list(self._files(patterns))
        missing = [pattern for pattern in patterns if not any(matches(pattern, path) for path in found)]
        return [path for path in found if any(matches(pattern, path) for pattern in patterns)], missing

    def _unpack(self, bundle: str, members: list[dict[str, Any]]) -> None:
        wanted: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for file in members:
            wanted[file.get("member") or file["path"]].append(file)
        try:
            with tarfile.open(bundle, "r:") as tar:
                for info in tar:
                    for file in wanted.pop(info.name, ()):
                        source = tar.extractfile(info) if info.isreg() else None
                        if source is None:
                            raise WorkspaceError(f"{info.name!r} in a bundle is no regular file")
                        with self._target(file).open("wb") as target:
                            shutil.copyfileobj(source, target)
                        self._seal(file)
        except (tarfile.TarError, OSError) as error:
            raise WorkspaceError(f"a bundle cannot be unpacked: {error}") from error
        if wanted:
            raise WorkspaceError(f"a bundle lacks {', '.join(sorted(wanted)[:3])}")

    def _write(self, file: dict[str, Any], source: Path) -> None:
        try:
            shutil.copyfile(source, self._target(file))
        except OSError as error:
            raise WorkspaceError(f"{file['path']!r} cannot be put into the workspace: {error.strerror}") from error
        self._seal(file)

    def _target(self, file: dict[str, Any]) -> Path:
        target = self.folder / str(file["path"])
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _seal(self, file: dict[str, Any]) -> None:
        target = self.folder / file["path"]
        target.chmod(file.get("mode", 0o644))
        os.utime(target, (MATERIALISED_MTIME_S, MATERIALISED_MTIME_S))
        self._baseline[file["path"]] = (target.stat().st_size, file.get("sha256", ""))

    def _is_unchanged(self, path: str) -> bool:
        known = self._baseline.get(path)
        if known is None:
            return False
        status = (self.folder / path).stat()
        if status.st_size != known[0]:
            return False
        return int(status.st_mtime) == MATERIALISED_MTIME_S or hash_file(self.folder / path) == known[1]

    def _files(self, patterns: Iterable[str]) -> Iterator[str]:
        """Regular files with sound names, sorted; by-products of tools only if a pattern names their folder."""
        named = {part for pattern in patterns for part in pattern.split("/")}
        junk = JUNK_FOLDERS - named
        count = 0
        self.refused = []
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in junk)
            below = os.path.relpath(folder, self.folder)
            for name in sorted(names) + [name for name in folders if Path(folder, name).is_symlink()]:
                path = name if below == "." else f"{below}/{name}"
                if not self._is_taken(path):
                    continue
                count += 1
                if count > MAX_FILES:
                    raise WorkspaceError(f"the workspace holds more than {MAX_FILES} files; declare its outputs")
                yield path

    def _is_taken(self, path: str) -> bool:
        mode = (self.folder / path).lstat().st_mode
        if stat.S_ISREG(mode):
            reason = refused_path(path)
        elif stat.S_ISLNK(mode):
            reason = "it is a link"
        else:
            reason = "it is no regular file"
        if reason and len(self.refused) < MAX_REFUSED:
            shown = path.encode("utf-8", "backslashreplace").decode()
            self.refused.append(f"{shown}: {reason}")
        return reason is None
