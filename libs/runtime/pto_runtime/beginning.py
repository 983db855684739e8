"""Where a reader of the whole log starts: at its beginning, or behind what was archived, from the archive's snapshot.

Imports core, ports and proto. Invariant: both give the same state; an archive without a usable snapshot stops the
reader with a sentence, because the beginning of its log may be gone.
"""

from typing import NamedTuple

from pto_core.snapshot import Sealed, unseal
from pto_core.state import State
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.event_log import EventLog, LogCorrupt
from pto_proto.envelope import ProtocolError, decode_event
from pto_proto.events import LogArchived
from pto_proto.ids import Digest
from pto_proto.subjects import ARCHIVE_SUBJECT, LOG_STREAM


class Beginning(NamedTuple):
    """A state, and the sequence behind which the log goes on from it."""

    state: State
    seq: int


async def last_archived(log: EventLog) -> LogArchived | None:
    """What was archived last; None: nothing yet. Raises LogUnavailable."""
    if not await log.last_seq(ARCHIVE_SUBJECT):
        return None
    found: LogArchived | None = None
    for recorded in await log.read_run(ARCHIVE_SUBJECT):
        try:
            entries = decode_event(recorded.data).entries
        except ProtocolError:
            continue
        for entry in entries:
            if isinstance(entry, LogArchived) and (found is None or entry.sequence >= found.sequence):
                found = entry
    return found


async def begin(log: EventLog, blobs: BlobStore | None, archived: LogArchived | None) -> Beginning:
    """Where to start behind what was archived. Raises LogCorrupt, LogUnavailable."""
    if archived is None:
        return Beginning(State(), 0)
    found = await _unseal(blobs, archived.snapshot)
    if isinstance(found, str) or found.seq != archived.sequence:
        reason = found if isinstance(found, str) else "it is of another sequence"
        raise LogCorrupt(
            f"the log was archived up to sequence {archived.sequence}, and the snapshot of that cannot be used: "
            f"{reason}. `orchestrator archive` makes it anew from the segments"
        )
    return Beginning(found.state, found.seq)


async def _unseal(blobs: BlobStore | None, digest: Digest) -> Sealed | str:
    if not digest or blobs is None:
        return "the event names none" if blobs is not None else "this reader has no blobs"
    try:
        return unseal(await blobs.get(digest), LOG_STREAM)
    except BlobMissing:
        return f"there is no blob {digest[:12]}"
    except BlobDamaged:
        return f"blob {digest[:12]} is damaged"
