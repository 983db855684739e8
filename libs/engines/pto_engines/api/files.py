"""The files of a workspace for an agent: read, write, list; never outside it, never through a link.

Imports the standard library and core. Invariant: every step of a path is opened relative to the folder before it and
without following links, so nothing that changes meanwhile can lead elsewhere.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pto_core.merge import refused_path
from pto_engines.api.limits import MAX_FILE_BYTES, MAX_LISTED, MAX_READ_CHARS

PART = ".pto-part"
"""Ending of a file that is being written."""
QUIET_FOLDERS = frozenset(
    (".git", ".venv", "__pycache__", "node_modules", ".pytest_cache", ".mypy_cache", ".ruff_cache")
)


class FileRefused(Exception):
    """The agent may not, or cannot, do this with the file; the message is for the agent."""


class ConfinedFiles:
    """The files below ``root``; ``refusal`` says why a path may not be written."""

    def __init__(self, root: Path, refusal: Callable[[str], str]) -> None:
        self._root = root
        self._refusal = refusal

    def write(self, path: str, content: str) -> int:
        """Replace or make the file, whole or not at all; returns its bytes. Raises FileRefused."""
        path = _sound(path)
        reason = self._refusal(path)
        if reason:
            raise FileRefused(f"{path!r} may not be written: {reason}")
        try:
            data = content.encode()
        except UnicodeEncodeError:
            raise FileRefused("the content is not valid Unicode") from None
        if len(data) > MAX_FILE_BYTES:
            raise FileRefused(f"the content has {len(data)} bytes; a file may have {MAX_FILE_BYTES}")
        with _plain_words(path), self._folder_of(path, make=True) as (folder, name):
            _replace(folder, name, data)
        return len(data)

    def read(self, path: str, from_line: int = 1) -> str:
        """The file's text from this line on. Raises FileRefused."""
        path = _sound(path)
        with _plain_words(path), self._folder_of(path) as (folder, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe without a writer would block for ever
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise FileRefused(f"{path!r} is no regular file")
                if status.st_size > MAX_FILE_BYTES:
                    raise FileRefused(f"{path!r} has {status.st_size} bytes; look at parts of it with run_command")
                data = file.read()
        try:
            lines = data.decode().splitlines(keepends=True)
        except UnicodeDecodeError:
            raise FileRefused(f"{path!r} is not text in UTF-8; look at it with run_command") from None
        text = "".join(lines[max(0, from_line - 1) :])
        if len(text) <= MAX_READ_CHARS:
            return text
        shown = text[:MAX_READ_CHARS]
        return f"{shown}\n[cut off here; read on from line {max(1, from_line) + shown.count(chr(10))}]"

    def listing(self, folder: str = "") -> list[str]:
        """Paths of the files below a folder, sorted; of too many, the first. Raises FileRefused."""
        folder = "" if folder in ("", ".", "./") else _sound(folder.rstrip("/"))
        parts = folder.split("/") if folder else []
        for depth in range(1, len(parts) + 1):
            if (self._root / "/".join(parts[:depth])).is_symlink():
                raise FileRefused(f"{folder!r} leads through a link, which is not followed")
        found: list[str] = []
        for path in self._walk(self._root / folder if folder else self._root):
            if len(found) == MAX_LISTED:
                return [*found, "[more files are not listed; list a folder of it]"]
            found.append(path)
        return found

    def _walk(self, top: Path) -> Iterator[str]:
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(name for name in folders if name not in QUIET_FOLDERS)
            yield from (Path(folder, name).relative_to(self._root).as_posix() for name in sorted(names))

    @contextmanager
    def _folder_of(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = path.split("/")
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            yield here, name
        finally:
            os.close(here)


def _replace(folder: int, name: str, data: bytes) -> None:
    """A new file takes the old one's name; a link of that name is replaced, not followed."""
    mode = 0o644
    with suppress(FileNotFoundError):
        old = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        mode = stat.S_IMODE(old.st_mode) & 0o755 if stat.S_ISREG(old.st_mode) else mode
    part = f"{name[:200]}{PART}"
    with suppress(FileNotFoundError):
        os.unlink(part, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, mode, dir_fd=folder), "wb") as file:
        file.write(data)
    os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)


def _sound(path: str) -> str:
    path = path.removeprefix("./")
    reason = refused_path(path)
    if reason:
        raise FileRefused(f"{path[:300]!r} is no path here: {reason}; paths are relative to the project's folder")
    return path


@contextmanager
def _plain_words(path: str) -> Iterator[None]:
    """A full disk is not the agent's matter and stays an OSError."""
    try:
        yield
    except FileNotFoundError:
        raise FileRefused(f"there is no file {path!r}") from None
    except (NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise FileRefused(f"{path!r} cannot be used: {error.strerror or error}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link stands where a folder or file should be
            raise FileRefused(f"{path!r} leads through a link, which is not followed") from None
        raise
