"""Blobs as files of one host: ``<folder>/<first two hex digits>/<digest>``. Imports ports and siblings.

Invariant: a file at its final name is complete, on disk and never written again; several processes may share the
folder.
"""

import asyncio
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pto_blobs.group import GroupWriter, sync_folder
from pto_ports.blob_store import BlobDamaged, BlobMissing, StoreFull
from pto_proto.ids import Digest, digest_of, is_digest

COPY_BYTES = 1 << 20
"""Bytes read at once, so that a big blob does not fill the memory."""
GROUPED_BYTES = 64 * 1024
"""Blobs up to this size share their way to the disk; of bigger ones each has its own, so that no small one waits."""


class DirectoryBlobStore:
    """A BlobStore in a folder, made when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._group = GroupWriter(folder)

    def path_of(self, digest: Digest) -> Path:
        """Where the blob lies, if it is stored; others may read it there and must not write."""
        return self._folder / digest[:2] / digest

    async def put(self, data: bytes) -> Digest:
        """As the port says."""
        digest = digest_of(data)
        if len(data) <= GROUPED_BYTES:
            await self._put_in_group(digest, data)
        elif self._is_stored_anew(digest):
            await asyncio.to_thread(self._sync_name, digest)
        else:
            await asyncio.to_thread(self._write, digest, data)
        return digest

    async def put_file(self, path: Path) -> Digest:
        """As the port says."""
        with path.open("rb") as file:
            data = file.read(GROUPED_BYTES + 1)
        if len(data) <= GROUPED_BYTES:
            return await self.put(data)
        return await asyncio.to_thread(self._take_in, path)

    async def _put_in_group(self, digest: Digest, data: bytes) -> None:
        # Under its name but still on its way to the disk, it is not stored yet.
        if self._group.is_pending(digest) or not self._is_stored_anew(digest):
            with _full_disk_is_store_full():
                await self._group.write(digest, data)
        else:
            await asyncio.to_thread(self._sync_name, digest)

    async def get(self, digest: Digest) -> bytes:
        """As the port says."""
        data = await asyncio.to_thread(self._read, digest)
        if digest_of(data) != digest:
            raise BlobDamaged(f"blob {digest} in {self._folder} does not match its name: delete it and store it again")
        return data

    async def get_file(self, digest: Digest, path: Path) -> None:
        """As the port says."""
        await asyncio.to_thread(self._hand_out, digest, path)

    async def has(self, digest: Digest) -> bool:
        """As the port says."""
        return self.path_of(digest).exists()

    def stored(self) -> Iterator[tuple[Digest, float]]:
        """Each blob with the moment (Unix seconds) when somebody stored it last."""
        for path in self._folder.glob("??/*"):
            if is_digest(path.name):
                with suppress(FileNotFoundError):
                    yield Digest(path.name), path.stat().st_mtime

    def discard(self, digest: Digest) -> int:
        """Remove a blob that nobody needs; returns its bytes, 0 if it is not there."""
        path = self.path_of(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def _is_stored_anew(self, digest: Digest) -> bool:
        """Whether it is there already; then it counts as stored just now, so that nobody takes it for forgotten."""
        try:
            os.utime(self.path_of(digest))
        except FileNotFoundError:
            return False
        return True

    def _sync_name(self, digest: Digest) -> None:
        """Another writer may have been seen between naming the blob and syncing its folder, or have failed there."""
        with suppress(FileNotFoundError):
            sync_folder(self.path_of(digest).parent)
            sync_folder(self._folder)

    def _write(self, digest: Digest, data: bytes) -> None:
        with replacing(self.path_of(digest)) as file:
            file.write(data)

    def _read(self, digest: Digest) -> bytes:
        try:
            return self.path_of(digest).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(f"no blob {digest} in {self._folder}") from error

    def _take_in(self, path: Path) -> Digest:
        hasher = hashlib.sha256()
        staging = self._folder / "incoming"
        staging.mkdir(parents=True, exist_ok=True)
        with _full_disk_is_store_full(), tempfile.NamedTemporaryFile(dir=staging, delete=False) as copy:
            try:
                with path.open("rb") as source:
                    while block := source.read(COPY_BYTES):
                        hasher.update(block)
                        copy.write(block)
                target = self.path_of(Digest(hasher.hexdigest()))
                if self._is_stored_anew(Digest(hasher.hexdigest())):
                    Path(copy.name).unlink()
                    self._sync_name(Digest(hasher.hexdigest()))
                    return Digest(hasher.hexdigest())
                copy.flush()
                os.fsync(copy.fileno())
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(copy.name).replace(target)
                sync_folder(target.parent)
            except BaseException:
                with suppress(OSError):
                    Path(copy.name).unlink()
                raise
        return Digest(hasher.hexdigest())

    def _hand_out(self, digest: Digest, path: Path) -> None:
        hasher = hashlib.sha256()
        try:
            source = self.path_of(digest).open("rb")
        except FileNotFoundError as error:
            raise BlobMissing(f"no blob {digest} in {self._folder}") from error
        with source, replacing(path) as file:
            while block := source.read(COPY_BYTES):
                hasher.update(block)
                file.write(block)
            if hasher.hexdigest() != digest:
                raise BlobDamaged(f"blob {digest} in {self._folder} does not match its name: delete it, store it again")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside ``path`` that takes its place, on disk, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _full_disk_is_store_full(), tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise


@contextmanager
def _full_disk_is_store_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(
                f"no room on the disk of the blob store: {error.strerror}; free some, then go on"
            ) from error
        raise
