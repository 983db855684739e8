"""The folder in which one attempt works: filled with what it may see, then searched for what it made.

Imports the standard library only. Invariant: nothing is written outside the folder while it is filled, and nothing but
regular files with sound names is ever taken out of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_harness.globs import matches
from pto_harness.limits import (
    CARRIED_BYTES,
    CARRIED_FILES,
    HASH_BYTES,
    JUNK_FOLDERS,
    MATERIALISED_MTIME_S,
    MAX_DEPTH,
    MAX_FILES,
    MAX_REFUSED,
)
from pto_harness.manifest import hash_file, normal_mode
from pto_harness.paths import refused_path
from pto_harness.placement import spread_below
from pto_harness.removal import remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO


class WorkspaceError(Exception):
    """The workspace cannot be filled or searched; the message says why."""


class Workspace:
    """One attempt's folder, which begins to be there with ``make`` or ``fill``.

    ``owner`` (user and group) gets all that they put there, so that somebody else can work in it.
    """

    def __init__(self, folder: Path, owner: tuple[int, int] | None = None) -> None:
        self.folder = folder
        self.refused: list[str] = []
        """Names that were not taken, with the reason."""
        self._owner = owner
        self._baseline: dict[str, tuple[tuple[int, int, int] | None, int, str]] = {}
        self._carried: dict[str, tuple[int, int, int]] = {}

    def make(self) -> None:
        """Make the folder, empty; what was there before is removed. Raises WorkspaceError."""
        try:
            os.mkdir(self.folder)  # noqa: PTH102 - once per task, and twice as fast
        except OSError:
            remove_folder(self.folder)
            try:
                for above in (self.folder.parent.parent, self.folder.parent):
                    if not above.exists():
                        above.mkdir(parents=True, exist_ok=True)
                        spread_below(above)
                # What is mounted there can be emptied, but not removed.
                self.folder.mkdir(exist_ok=os.path.ismount(self.folder))
            except OSError as error:
                raise WorkspaceError(f"the workspace cannot be made: {error}") from error
        self._hand_over()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it at all, or nothing left of it that could be searched; cheap."""
        try:
            with os.scandir(self.folder) as entries:
                return next(entries, None) is None
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # its own command did that
            return True

    def fill(self, files: Iterable[dict[str, Any]]) -> None:
        """Make the folder and write each ``{"path", "mode", "bundle", "member"}`` or ``{"path", "mode", "source"}``.

        Raises WorkspaceError.
        """
        self.make()
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
        self._hand_over()

    def recall(self, files: Iterable[dict[str, Any]]) -> None:
        """Know what another process filled the folder with (each with its ``sha256``); only its content tells then
        whether a file was changed.
        """
        for file in files:
            self._baseline[file["path"]] = (None, normal_mode(file.get("mode", 0o644)), file["sha256"])

    def _hand_over(self) -> None:
        if self._owner is None:
            return
        try:
            os.chown(self.folder, *self._owner)
            for below, folders, names in os.walk(self.folder):
                for name in (*folders, *names):
                    os.chown(f"{below}/{name}", *self._owner, follow_symlinks=False)
        except OSError as error:
            raise WorkspaceError(f"the workspace cannot be handed over: {error}") from error
        for path, (_, mode, sha256) in self._baseline.items():
            self._baseline[path] = (_identity((self.folder / path).stat()), mode, sha256)

    def changed(self) -> list[str]:
        """Paths of all files that are new or differ from what the workspace was filled with."""
        return [path for path in self._files(()) if not self._is_unchanged(path)]

    def matching(self, patterns: list[str]) -> tuple[list[str], list[str]]:
        """(new or changed paths that match any pattern, patterns that match no file at all).

        What the task only inherited stays its ancestor's: else siblings would meet in conflict over files that they
        never touched.
        """
        found = list(self._files(patterns))
        missing = [pattern for pattern in patterns if not any(matches(pattern, path) for path in found)]
        taken = [path for path in found if any(matches(pattern, path) for pattern in patterns)]
        return [path for path in taken if not self._is_unchanged(path)], missing

    def taken(self, outputs: list[str], is_allowed: Callable[[str], bool]) -> tuple[list[str], list[str]]:
        """(all new or changed paths that are allowed, declared outputs that match no file at all)."""
        found = list(self._files(outputs))
        missing = [pattern for pattern in outputs if not any(matches(pattern, path) for path in found)]
        return [path for path in found if is_allowed(path) and not self._is_unchanged(path)], missing

    def empty(self, outputs: list[str], allowed: Iterable[str]) -> list[str]:
        """Declared outputs of which every file is empty; files of the ``allowed`` names may be."""
        sizes = {path: os.lstat(self.folder / path).st_size for path in self._files(outputs)}
        found = []
        for pattern in outputs:
            matching = [path for path in sizes if matches(pattern, path)]
            if matching and not any(sizes[path] or path.rpartition("/")[2] in allowed for path in matching):
                found.append(pattern)
        return found

    def carry(self, earlier: Path, is_allowed: Callable[[str], bool]) -> int:
        """Copy what an earlier attempt at the same task made and left behind in its workspace; returns how many.

        Only files that differ from what this one was filled with, and only as much as the limits allow.
        """
        source, left = Workspace(earlier), CARRIED_BYTES
        for path in source._files(()):
            size = os.lstat(earlier / path).st_size
            known = self._baseline.get(path)
            if not is_allowed(path) or size > left or (known and hash_file(earlier / path) == known[2]):
                continue
            target = self._target({"path": path})
            with open(os.open(earlier / path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as reader:  # noqa: PTH123
                mode = normal_mode(os.fstat(reader.fileno()).st_mode)
                with target.open("wb") as writer:
                    shutil.copyfileobj(reader, writer)
            target.chmod(mode)
            left -= size
            self._carried[path] = _identity(target.stat())
            if len(self._carried) >= CARRIED_FILES:
                break
        return len(self._carried)

    def has_own(self, paths: Iterable[str]) -> bool:
        """Whether any of these was written since the workspace was filled, and not just carried over."""
        return any(self._carried.get(path) != _identity(os.lstat(self.folder / path)) for path in paths)

    def _unpack(self, bundle: str, members: list[dict[str, Any]]) -> None:
        wanted: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for file in members:
            wanted[file.get("member") or file["path"]].append(file)
        try:
            with tarfile.open(bundle, "r:", encoding="utf-8") as tar:
                for info in tar:
                    for file in wanted.pop(info.name, ()):
                        source = tar.extractfile(info) if info.isreg() else None
                        if source is None:
                            raise WorkspaceError(f"{info.name!r} in a bundle is no regular file")
                        self._copy(file, source)
        except (tarfile.TarError, OSError) as error:
            raise WorkspaceError(f"a bundle cannot be unpacked: {error}") from error
        if wanted:
            raise WorkspaceError(f"a bundle lacks {', '.join(sorted(wanted)[:3])}")

    def _write(self, file: dict[str, Any], source: Path) -> None:
        try:
            with source.open("rb") as reader:
                self._copy(file, reader)
        except OSError as error:
            raise WorkspaceError(f"{file['path']!r} cannot be put into the workspace: {error.strerror}") from error

    def _copy(self, file: dict[str, Any], source: IO[bytes]) -> None:
        """Write one file and compare its content with the digest it was promised under, if any."""
        hasher = hashlib.sha256()
        with self._target(file).open("wb") as target:
            while True:
                block = source.read(HASH_BYTES)
                if not block:
                    break
                hasher.update(block)
                target.write(block)
        if file.get("sha256", hasher.hexdigest()) != hasher.hexdigest():
            raise WorkspaceError(f"{file['path']!r} is damaged: its content does not match its digest")
        self._seal(file, hasher.hexdigest())

    def _target(self, file: dict[str, Any]) -> Path:
        target = self.folder / str(file["path"])
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _seal(self, file: dict[str, Any], sha256: str) -> None:
        target = self.folder / file["path"]
        target.chmod(normal_mode(file.get("mode", 0o644)))
        os.utime(target, (MATERIALISED_MTIME_S, MATERIALISED_MTIME_S))
        status = target.stat()
        self._baseline[file["path"]] = (_identity(status), normal_mode(status.st_mode), sha256)

    def _is_unchanged(self, path: str) -> bool:
        known = self._baseline.get(path)
        if known is None:
            return False
        identity, mode, sha256 = known
        status = (self.folder / path).stat()
        if normal_mode(status.st_mode) != mode or (identity is not None and status.st_size != identity[0]):
            return False
        # ``mv`` and ``cp -p`` carry the sealed time to another file, so the time alone proves nothing.
        untouched = int(status.st_mtime) == MATERIALISED_MTIME_S and _identity(status) == identity
        return untouched or hash_file(self.folder / path) == sha256

    def _files(self, patterns: Iterable[str]) -> Iterator[str]:
        """Regular files with sound names, sorted; by-products of tools only if a pattern names their folder."""
        named = {part for pattern in patterns for part in pattern.split("/")}
        junk = JUNK_FOLDERS - named
        count = 0
        self.refused = []
        for folder, folders, names in os.walk(self.folder):
            below = os.path.relpath(folder, self.folder)
            folders[:] = sorted(name for name in folders if name not in junk)
            if below.count("/") >= MAX_DEPTH:
                self._refuse(below, "folders are too deep there")
                folders.clear()
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
        if reason:
            self._refuse(path, reason)
        return reason is None

    def _refuse(self, path: str, reason: str) -> None:
        if len(self.refused) < MAX_REFUSED:
            shown = path.encode("utf-8", "backslashreplace").decode()
            self.refused.append(f"{shown}: {reason}")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """Size, inode and time of change, which no program can set."""
    return (status.st_size, status.st_ino, status.st_ctime_ns)
