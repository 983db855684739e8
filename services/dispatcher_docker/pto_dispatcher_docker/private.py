"""What only one attempt's container may read: its user's files, in the memory of this host, gone with the attempt.

Imports harness. Invariants: no value is ever in a name, an argument or the engine's own records; what a
killed dispatcher left behind is removed when its next incarnation sweeps; while one holds it, no other process on this
host can.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pto_harness.removal import remove_folder

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own below it, closed to others
OWNER_ONLY = 0o700
READ_ONLY = 0o400


class OwnerTaken(Exception):
    """This process cannot own its containers; the message says why and what to do."""


class PrivateFiles:
    """Of one dispatcher; a folder per attempt, to be mounted into its container."""

    def __init__(self, owner: str, user: tuple[int, int], memory: Path = MEMORY) -> None:
        """``owner`` tells dispatchers apart; ``user`` is who the container runs as."""
        at = memory if os.access(memory, os.W_OK | os.X_OK) else Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
        self._folder = at / f"pto-{os.getuid()}-{hashlib.sha256(owner.encode()).hexdigest()[:16]}"
        self._user = user
        self._held = -1

    def hold(self) -> None:
        """Be the one process that works as this owner. Raises OwnerTaken."""
        try:
            while not self._is_ours():  # whoever lets go removes the folder, which may just have been opened here
                self._let_go()
                self._open()
                with suppress(FileNotFoundError):
                    self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._let_go()
            if not isinstance(error, BlockingIOError):
                raise OwnerTaken(f"the folder for credentials cannot be used: {error}") from error
            raise OwnerTaken(
                "another docker dispatcher of this name works in the same folder, and would take these containers for "
                "its own; give each a folder of its own (PTO_WORK_DIR)"
            ) from error

    def release(self) -> None:
        """Let somebody else be it; harmless if it was not held."""
        if self._is_ours():
            with suppress(OSError):  # containers that go on have theirs in it
                self._folder.rmdir()
        self._let_go()

    def put(self, attempt: str, name: str, text: str) -> Path:
        """Write one file; returns the folder to be mounted. Raises OSError."""
        self._open()
        folder = self._folder / attempt
        folder.mkdir(OWNER_ONLY, exist_ok=True)
        path = folder / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, READ_ONLY)
        # Variables are bytes, and need not be text.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            if os.getuid() == 0:
                os.fchown(descriptor, *self._user)
            file.write(text)
        if os.getuid() == 0:
            os.chown(folder, *self._user)
        return folder

    def drop(self, attempt: str) -> None:
        """Remove what there is of this attempt."""
        remove_folder(self._folder / attempt)

    def sweep(self, is_known: Callable[[str], bool]) -> None:
        """Remove what there is of attempts that are not known at the moment when they are looked at."""
        try:
            found = list(self._folder.iterdir())
        except OSError:
            return
        for folder in found:
            if not is_known(folder.name):
                remove_folder(folder)

    def remove_all(self) -> None:
        """Leave nothing, not even the folder of all."""
        remove_folder(self._folder)

    def _is_ours(self) -> bool:
        """Whether what is held is the folder that others find."""
        with suppress(FileNotFoundError):
            return self._held >= 0 and os.path.samestat(os.fstat(self._held), self._folder.lstat())
        return False

    def _let_go(self) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = -1

    def _open(self) -> None:
        """The folder of all, ours and closed to everybody else: others may write where it lies."""
        try:
            self._folder.mkdir(OWNER_ONLY)
        except FileExistsError:
            status = self._folder.lstat()
            if status.st_uid != os.getuid() or status.st_mode & 0o7777 != OWNER_ONLY or self._folder.is_symlink():
                raise PermissionError(f"{self._folder} is there, and others can use it; remove it") from None
