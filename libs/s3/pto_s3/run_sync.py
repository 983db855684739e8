"""Keeps a run's folders and its prefix in the bucket the same: looks, plans, carries out. Blocking; imports siblings.

Invariant: any round may be killed or fail anywhere; rounds that follow bring both sides to the same end. Files are
taken from the folders only when they are whole, which their writers show by renaming them into place.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import msgspec

from pto_proto.ids import RunId
from pto_s3 import limits
from pto_s3.bucket import PARTIAL, Bucket
from pto_s3.errors import ObjectDamaged, ObjectMissing, OtherContent
from pto_s3.layout import AREAS, Area, run_prefix
from pto_s3.pool import Pool
from pto_s3.sync_plan import LocalFile, Name, Settled, plan_sync
from pto_s3.upload import put_file_once


class SyncReport(msgspec.Struct):
    """What one round did."""

    uploaded: int = 0
    """Including what was found to be there already."""
    downloaded: int = 0
    replaced: int = 0
    lost: list[str] = msgspec.field(default_factory=list)
    """Results that came second: another content has their name in the bucket, and stays."""
    damaged: list[str] = msgspec.field(default_factory=list)
    """What was not brought down, since the bucket's content does not match its own digest."""


class RunSync:
    """One run; rounds that several threads ask for are one after the other."""

    def __init__(self, bucket: Bucket, run: RunId, folders: Mapping[Area, Path], pool: Pool) -> None:
        self._bucket = bucket
        self._run = run
        self._folders = folders
        self._pool = pool
        self._settled = Settled()
        self._offered: SimpleQueue[Name] = SimpleQueue()
        self._waiting: set[Name] = set()
        self._lock = threading.Lock()
        for folder in folders.values():
            for left in folder.glob("*".join(PARTIAL)):
                left.unlink(missing_ok=True)

    def offer(self, area: Area, file: str) -> None:
        """There is this new file; for rounds that do not look. From any thread."""
        self._offered.put((area, file))

    def round(self, *, look: bool = True) -> SyncReport:
        """Bring over what is missing on either side.

        ``look``: list folders and bucket, for what nobody has told; without it only what was offered goes up, and state
        that changed. Raises S3Error; what was done until then is not done again. OtherWriter: the state belongs to
        another process.
        """
        with self._lock:
            return self._round(look)

    def _round(self, look: bool) -> SyncReport:
        report = SyncReport()
        while not self._offered.empty():
            self._waiting.add(self._offered.get())
        local = dict(self._listed() if look else self._told())
        remote = dict(self._remote()) if look else None
        plan = plan_sync(local, remote, self._settled)
        big = [name for name in plan.uploads if local[name].size > limits.PART_BYTES]
        small = (name for name in plan.uploads if local[name].size <= limits.PART_BYTES)
        self._pool.each(partial(self._compare, report, remote or {}), plan.compares)
        self._pool.each(partial(self._upload, report), small)
        for name in big:
            self._upload(report, name)
        self._waiting -= self._settled.once
        self._pool.each(partial(self._download, report), plan.downloads)
        for state in plan.replacements:
            self._replace(report, state, local[Area.STATE, state])
        return report

    def _listed(self) -> Iterator[tuple[Name, LocalFile]]:
        for area in AREAS:
            yield from self._files(area)

    def _told(self) -> Iterator[tuple[Name, LocalFile]]:
        for area, file in [*self._waiting]:
            try:
                told = (self._folders[area] / file).stat()
            except FileNotFoundError:
                self._waiting.discard((area, file))  # cleaned away since it was offered
            else:
                yield (area, file), LocalFile(told.st_size, told.st_mtime_ns)
        yield from self._files(Area.STATE)

    def _files(self, area: Area) -> Iterator[tuple[Name, LocalFile]]:
        folder = self._folders.get(area)
        if folder is None or not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    told = entry.stat(follow_symlinks=False)
                    yield (area, entry.name), LocalFile(told.st_size, told.st_mtime_ns)

    def _remote(self) -> Iterator[tuple[Name, str]]:
        """What the bucket has that is not settled, with its ETag: of a long run that is little, page after page."""
        for area in AREAS:
            if area in self._folders:
                prefix = run_prefix(self._run, area)
                for stored in self._bucket.list(prefix):
                    name = (area, stored.key.removeprefix(prefix))
                    if name not in self._settled.once:
                        yield name, stored.etag

    def _compare(self, report: SyncReport, remote: Mapping[Name, str], name: Name) -> None:
        path = self._folders[name[0]] / name[1]
        try:
            md5, sha256 = digests(path)
        except FileNotFoundError:
            return
        try:
            # The listing says enough where S3 encrypts with its own keys and the object was not put in parts.
            if remote[name].strip('"') != md5:
                self._bucket.expect(self._key(name), sha256)
            report.uploaded += 1
        except ObjectMissing:
            return
        except OtherContent:
            report.lost.append(name[1])
        self._settled.once.add(name)

    def _upload(self, report: SyncReport, name: Name) -> None:
        area, file = name
        try:
            put_file_once(self._bucket, self._key(name), self._folders[area] / file, self._pool)
            report.uploaded += 1
        except FileNotFoundError:
            return  # cleaned away since it was seen
        except OtherContent:
            report.lost.append(file)
        self._settled.once.add(name)

    def _download(self, report: SyncReport, name: Name) -> None:
        area, file = name
        try:
            self._bucket.get_file(self._key(name), self._folders[area] / file, over=False)
        except ObjectMissing:
            return  # cleaned away since it was listed
        except ObjectDamaged:
            report.damaged.append(file)
            return
        report.downloaded += 1
        if not area.is_replaced:
            self._settled.once.add(name)

    def _replace(self, report: SyncReport, file: str, seen: LocalFile) -> None:
        key, path = self._key((Area.STATE, file)), self._folders[Area.STATE] / file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        if (known := self._settled.replaced.get(file)) is not None:
            etag = self._bucket.replace(key, data, known[1])
        elif (there := self._bucket.head(key)) is None:
            etag = self._bucket.replace(key, data, "")
        elif there.sha256 == hashlib.sha256(data).hexdigest():
            etag = there.etag
        else:
            etag = self._bucket.replace(key, data, there.etag)
        self._settled.replaced[file] = (seen, etag)
        report.replaced += 1

    def _key(self, name: Name) -> str:
        return run_prefix(self._run, name[0]) + name[1]


def digests(path: Path) -> tuple[str, str]:
    """MD5 and SHA-256 of a file. Raises FileNotFoundError."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(limits.COPY_BYTES):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()
