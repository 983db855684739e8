"""Brings small blobs to the disk in groups: what waits while one group is written is the next group.

Imports proto and siblings. Invariant: a blob gets its final name only after its bytes are on disk, and whoever stored
it hears of that only after the name is on disk too. A disk writes many files that are asked for together in little more
time than one, so every step is taken for the whole group before the next one is begun.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pto_blobs.placement import spread_below
from pto_proto.ids import Digest

GROUP_FILES = 64
"""Blobs of one group: descriptors that are open at the same time, besides those of running tasks."""
MODE = 0o600


class GroupWriter:
    """Writes blobs into the folder of a store; used by one event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: dict[Digest, asyncio.Future[None]] = {}
        self._waiting: dict[Digest, bytes] = {}
        self._writer: asyncio.Task[None] | None = None

    def is_pending(self, digest: Digest) -> bool:
        """Whether this blob is on its way to the disk."""
        return digest in self._pending

    async def write(self, digest: Digest, data: bytes) -> None:
        """Return when it is on disk under its name. Raises OSError."""
        arrived = self._pending.get(digest)
        if arrived is None:
            arrived = self._pending[digest] = asyncio.get_running_loop().create_future()
            self._waiting[digest] = data
            if self._writer is None:
                self._writer = asyncio.create_task(self._write_groups())
        await asyncio.shield(arrived)

    async def _write_groups(self) -> None:
        group: dict[Digest, bytes] = {}
        try:
            await asyncio.sleep(0)  # what is put in the same turn of the loop belongs to the same group
            while self._waiting:
                group = {digest: self._waiting.pop(digest) for digest in [*self._waiting][:GROUP_FILES]}
                failures = await asyncio.to_thread(write_group, self._folder, group)
                for digest in group:
                    self._arrive(digest, failures.get(digest))
        except BaseException:
            for digest in {**group, **self._waiting}:
                self._arrive(digest, OSError("the writer of blobs was stopped"))
            self._waiting.clear()
            raise
        finally:
            self._writer = None

    def _arrive(self, digest: Digest, failure: OSError | None) -> None:
        arrived = self._pending.pop(digest, None)
        if arrived is None or arrived.done():
            return
        if failure is None:
            arrived.set_result(None)
        else:
            arrived.set_exception(failure)
            arrived.exception()  # whoever waited may be gone


def write_group(folder: Path, group: dict[Digest, bytes]) -> dict[Digest, OSError]:
    """Write these blobs; returns those that could not be written, and why."""
    writing = _Group(folder, group)
    try:
        for step in (writing.stage, writing.start_sync, writing.sync, writing.name):
            writing.each(step)
        writing.sync_folders()
    finally:
        writing.clean_up()
    return writing.failures


class _Group:
    def __init__(self, folder: Path, group: dict[Digest, bytes]) -> None:
        self.failures: dict[Digest, OSError] = {}
        self._folder = folder
        self._group = group
        self._token = secrets.token_hex(6)
        self._open: dict[Digest, int] = {}
        self._folders: dict[Path, list[Digest]] = {}
        """Where names are new, and whose."""

    def each(self, step: Callable[[Digest], None]) -> None:
        """Take this step for all blobs that have not failed yet."""
        for digest in self._group:
            if digest not in self.failures:
                try:
                    step(digest)
                except OSError as error:
                    self.failures[digest] = error

    def stage(self, digest: Digest) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(self._staged(digest), flags, MODE)
        except FileNotFoundError:
            self._make_folder(digest)
            descriptor = os.open(self._staged(digest), flags, MODE)
        self._open[digest] = descriptor
        rest = memoryview(self._group[digest])
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def start_sync(self, digest: Digest) -> None:
        # The kernel begins to write at once and does not wait; nobody has to read the file soon.
        os.posix_fadvise(self._open[digest], 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self, digest: Digest) -> None:
        descriptor = self._open.pop(digest)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def name(self, digest: Digest) -> None:
        folder = self._folder / digest[:2]
        os.rename(self._staged(digest), folder / digest)  # noqa: PTH104
        self._folders.setdefault(folder, []).append(digest)

    def sync_folders(self) -> None:
        for folder, digests in self._folders.items():
            try:
                sync_folder(folder)
            except OSError as error:
                self.failures.update(dict.fromkeys(digests, error))

    def clean_up(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        for digest in self.failures:
            with suppress(OSError):
                os.unlink(self._staged(digest))  # noqa: PTH108

    def _make_folder(self, digest: Digest) -> None:
        if not self._folder.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            spread_below(self._folder)
        (self._folder / digest[:2]).mkdir(exist_ok=True)
        self._folders.setdefault(self._folder, []).append(digest)

    def _staged(self, digest: Digest) -> str:
        return f"{self._folder}/{digest[:2]}/.{self._token}.{digest}"


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
