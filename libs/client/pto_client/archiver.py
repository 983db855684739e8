"""Archives a log: exports what nobody needs any more as a segment with a snapshot, says so in the log, and purges it.

Imports core, ports, proto and runtime's beginning. Invariants: a message leaves the log only when its segment and the
snapshot behind it are stored and LogArchived is read back; whatever is interrupted is finished by the next call.
"""

import hashlib
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import IO, NamedTuple

from pto_core.archive import Cut, SegmentDamaged, SegmentHead, find_cut, read_segment, segment_head, segment_line
from pto_core.reading import fold_message
from pto_core.snapshot import seal
from pto_core.state import State
from pto_ports.blob_store import BlobStore
from pto_ports.event_log import ArchivedLog, LogCorrupt, LogUnavailable, NotSettled, Outgoing, Recorded
from pto_proto.envelope import Event, ProtocolError, decode_event, encode_event
from pto_proto.events import LogArchived
from pto_proto.ids import Digest
from pto_proto.subjects import ARCHIVE_SUBJECT, LOG_STREAM
from pto_runtime.beginning import Beginning, begin, last_archived

READ_WAIT_S = 5.0
TRIES = 3
"""How often LogArchived is written before the broker's silence is told."""


class Archivable(NamedTuple):
    """What may leave the log now."""

    first: int
    cut: Cut
    head: int
    """The log's last sequence."""

    @property
    def messages(self) -> int:
        """Messages that may leave."""
        return max(0, self.cut.seq - self.first + 1)


class Archiver:
    """Archives into ``folder``, which keeps all segments; ``now`` is Unix time in milliseconds."""

    def __init__(self, log: ArchivedLog, blobs: BlobStore, folder: Path, *, instance: str, now: int) -> None:
        self._log = log
        self._blobs = blobs
        self._folder = folder
        self._source = f"archiver/{instance}"
        self._now = now

    async def look(self, before: int | None = None) -> Archivable:
        """What may leave; with ``before`` (Unix ms) nothing that happened then or later. Raises LogCorrupt."""
        archived = await last_archived(self._log)
        start = await begin(self._log, self._blobs, archived)
        state, first_recent = start.state, None
        async with aclosing(self._messages(start.seq)) as messages:
            async for recorded in messages:
                at = _time_of(recorded)
                fold_message(state, recorded.seq, recorded.subject, recorded.data)
                if before is not None and first_recent is None and at is not None and at >= before:
                    first_recent = recorded.seq
        return Archivable(start.seq + 1, find_cut(state, first_recent), state.seq)

    async def archive(self, found: Archivable) -> LogArchived:
        """Export, announce and purge what was found to be archivable. Raises LogUnavailable, OSError, StoreFull."""
        archived = await last_archived(self._log)
        start = await begin(self._log, self._blobs, archived)
        segment, snapshot = await self._export(start, found)
        entry = LogArchived(
            at=self._now, sequence=found.cut.seq, segment=segment, snapshot=await self._blobs.put(snapshot)
        )
        await self._announce(entry)
        await self._log.purge(entry.sequence)
        return entry

    async def finish(self) -> int:
        """Purge again what was announced and perhaps not purged; returns the sequence, 0: nothing was archived."""
        archived = await last_archived(self._log)
        if archived is None:
            return 0
        await self._log.purge(archived.sequence)
        return archived.sequence

    async def renew(self) -> LogArchived:
        """Make the last snapshot anew from the segments, as after a new version. Raises SegmentDamaged, LogCorrupt."""
        archived = await last_archived(self._log)
        if archived is None:
            raise LogCorrupt("nothing was archived yet")
        state, last_id = State(), ""
        for path in segments(self._folder):
            with path.open("rb") as lines:
                for seq, subject, data in read_segment(lines):
                    if seq != state.seq + 1:
                        raise SegmentDamaged(f"{path}: sequence {state.seq + 1} is missing before it")
                    last_id = fold_message(state, seq, subject, data)
                    if seq == archived.sequence:
                        break
        if state.seq != archived.sequence:
            raise SegmentDamaged(f"{self._folder}: its segments end at {state.seq}, not at {archived.sequence}")
        snapshot = await self._blobs.put(seal(state, LOG_STREAM, last_id))
        entry = LogArchived(at=self._now, sequence=state.seq, segment=archived.segment, snapshot=snapshot)
        await self._announce(entry)
        return entry

    async def _export(self, start: Beginning, found: Archivable) -> tuple[Digest, bytes]:
        """(digest of the segment's file, snapshot). The file is on disk under its final name when this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"segment-{found.first:012d}-{found.cut.seq:012d}.jsonl"
        part = path.with_suffix(".part")
        state, last_id = start.state, ""
        hasher = hashlib.sha256()
        with part.open("wb") as file:
            _write(file, hasher, segment_head(SegmentHead(stream=LOG_STREAM, first=found.first, last=found.cut.seq)))
            async with aclosing(self._messages(start.seq, found.cut.seq)) as messages:
                async for recorded in messages:
                    last_id = fold_message(state, recorded.seq, recorded.subject, recorded.data)
                    _write(file, hasher, segment_line(recorded.seq, recorded.subject, recorded.data))
            file.flush()
            os.fsync(file.fileno())
        if state.seq != found.cut.seq:
            raise LogCorrupt(f"the log lacks sequence {state.seq + 1}")
        part.replace(path)
        return Digest(hasher.hexdigest()), seal(state, LOG_STREAM, last_id)

    async def _announce(self, entry: LogArchived) -> None:
        """Write LogArchived and read it back."""
        wire_id = f"archive.{entry.sequence}.{entry.snapshot[:16]}"
        event = Event(id=wire_id, source=self._source, kind=LogArchived, lane=None, run=None, entries=(entry,))
        problem: Exception | None = None
        for _ in range(TRIES):
            try:
                await self._log.append([Outgoing(ARCHIVE_SUBJECT, encode_event(event), wire_id)])
            except NotSettled as error:
                problem = error
            known = await last_archived(self._log)
            if known is not None and (known.sequence, known.snapshot) == (entry.sequence, entry.snapshot):
                return
        raise LogUnavailable(f"LogArchived could not be written, so nothing was purged: {problem}")

    async def _messages(self, after: int, up_to: int | None = None) -> AsyncGenerator[Recorded, None]:
        """What is in the log behind ``after`` now, or up to a sequence."""
        reader = await self._log.read(after=after)
        try:
            while not reader.caught_up:
                for recorded in await reader.next(READ_WAIT_S):
                    if up_to is not None and recorded.seq > up_to:
                        return
                    yield recorded
        finally:
            await reader.close()


def segments(folder: Path) -> Iterator[Path]:
    """The segments in a folder, in the order of the log."""
    return iter(sorted(folder.glob("segment-*.jsonl")))


def _write(file: IO[bytes], hasher: "hashlib._Hash", line: bytes) -> None:
    file.write(line)
    hasher.update(line)


def _time_of(recorded: Recorded) -> int | None:
    try:
        entries = decode_event(recorded.data).entries
    except ProtocolError:
        return None
    latest: int | None = max((entry.at for entry in entries), default=None)
    return latest
