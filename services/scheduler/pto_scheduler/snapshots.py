"""What a scheduler remembers over a restart: its last snapshot, if the log still agrees with it.

Imports core, ports, proto and runtime. Invariant: a snapshot saves time and decides nothing; whatever does
not fit is dropped, and the log is folded from zero, or from where its archive ends. Only a log that ends before its
snapshot stops the service: it has lost events.
"""

import asyncio

from pto_core.snapshot import Sealed, seal, unseal
from pto_core.state import State
from pto_ports.blob_store import BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, LogCorrupt, LogReader, Recorded
from pto_ports.snapshots import SnapshotNotSaved, SnapshotStore
from pto_proto.envelope import ProtocolError, decode_event
from pto_proto.ids import digest_of
from pto_proto.subjects import LOG_STREAM
from pto_runtime.beginning import begin, last_archived
from pto_runtime.gc_pause import gc_paused
from pto_runtime.logs import get_logger
from pto_runtime.reading import open_reader, patiently

SNAPSHOT_EVERY = 100_000
"""Messages between two snapshots: folding that many takes a few seconds, writing a big snapshot about one."""
SNAPSHOT_AT_END = 2_000
"""Messages since the last snapshot that make another one worth while at an orderly end."""
READ_WAIT_S = 5.0
"""Longest wait of one read; only bounds how often the loop looks round."""


class Snapshots:
    """The snapshots of one scheduler instance; without a store it remembers nothing. ``blobs`` has the archive's."""

    def __init__(
        self, store: SnapshotStore | None, log: EventLog, clock: Clock, blobs: BlobStore | None = None
    ) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._blobs = blobs
        self._saved_seq = 0
        self._saving: asyncio.Task[None] | None = None
        self.last: Recorded | None = None
        """The message at the state's sequence, if it is an event."""
        self._logger = get_logger()

    async def recall(self) -> tuple[State, LogReader, list[Recorded]]:
        """(state, reader of what is behind it, what was read of that already). Raises LogCorrupt."""
        archived = await patiently(lambda: last_archived(self._log), self._clock)
        found = await self._unseal()
        if found is not None and archived is not None and found.seq <= archived.sequence:
            self._logger.info("snapshot dropped", reason=f"the log was archived up to sequence {archived.sequence}")
            found = None
        if found is not None:
            reader = await open_reader(self._log, self._clock, after=found.seq - 1)
            first: list[Recorded] = []
            while not first:
                first = await reader.next(READ_WAIT_S)
            if first[0].seq == found.seq and _mark(first[0]) == found.last_id:
                self._saved_seq, self.last = found.seq, first[0]
                self._logger.info("starting from a snapshot", sequence=found.seq)
                return found.state, reader, first[1:]
            self._logger.warning("snapshot dropped", reason="the log holds another event there")
            await reader.close()
        start = await patiently(lambda: begin(self._log, self._blobs, archived), self._clock)
        return start.state, await open_reader(self._log, self._clock, after=start.seq), []

    def keep(self, state: State) -> None:
        """Write a snapshot in the background if it is time for one."""
        is_due = state.seq - self._saved_seq >= SNAPSHOT_EVERY and (self._saving is None or self._saving.done())
        if self._store is not None and is_due and self.last is not None:
            self._saved_seq = state.seq
            self._saving = asyncio.create_task(self._save(self._store, seal(state, LOG_STREAM, _mark(self.last))))

    async def close(self, state: State) -> None:
        """Write a last snapshot if that is worth while."""
        if self._saving is not None:
            await self._saving
        is_due = state.seq - self._saved_seq >= SNAPSHOT_AT_END
        if self._store is not None and is_due and self.last is not None:
            await self._save(self._store, seal(state, LOG_STREAM, _mark(self.last)))

    async def _save(self, store: SnapshotStore, data: bytes) -> None:
        try:
            await store.save(data)
        except SnapshotNotSaved as error:
            self._logger.warning("snapshot not saved", reason=str(error))

    async def _unseal(self) -> Sealed | None:
        data = await self._store.load() if self._store is not None else None
        if data is None:
            return None
        with gc_paused():
            found = unseal(data, LOG_STREAM)
        if isinstance(found, str):
            self._logger.warning("snapshot dropped", reason=found)
            return None
        last = await patiently(self._log.last_seq, self._clock)
        if last < found.seq:
            raise LogCorrupt(
                f"the stream {LOG_STREAM} ends at sequence {last}, but a snapshot knows {found.seq}: the broker lost "
                "the end of its log. If an older copy of its store was put back on purpose, remove the snapshot"
            )
        return found


def _mark(recorded: Recorded) -> str:
    """What tells this event from any other that another log may hold at its sequence; empty for what is no event."""
    try:
        return f"{decode_event(recorded.data).id} {digest_of(recorded.data)}"
    except ProtocolError:
        return ""
