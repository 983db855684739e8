"""Audits a log: folds it from zero, and compares with what the schedulers that are there show of their state.

Imports core, ports, proto, runtime and siblings. Invariant: it changes nothing; a state is compared at exactly the
sequence at which it was shown.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from pto_client.patience import through_an_election
from pto_core.audit import Audit, Finding
from pto_core.snapshot import FOLD_VERSION, digests
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import EventLog, LogCorrupt, LogReader, LogUnavailable
from pto_ports.live import LiveChannel
from pto_proto.ids import Digest, RunId
from pto_proto.live import StateShown
from pto_proto.manifests import Manifest
from pto_proto.subjects import AUDIT_SUBJECT, STATE_SUBJECT
from pto_runtime.gc_pause import gc_paused

ANSWER_S = 3.0
"""How long to wait for the first scheduler to answer: one that is there does at once, unless its state is very big."""
OTHERS_S = 0.5
"""How long to wait for more of them after the last answer."""
BEHIND_S = 15.0
"""How long the mirror may take to come to a sequence that a scheduler has folded."""
_LOOK_S = 0.05


class Compared(NamedTuple):
    """A scheduler's state beside that of the fold from zero at the same sequence."""

    shown: StateShown
    digest: Digest
    """Of the fold from zero; empty if there is nothing to compare."""
    differing: tuple[RunId, ...]
    problem: str
    """Why the two could not be compared; empty if they were."""

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return not self.problem and self.digest == self.shown.digest


class Auditor:
    """One audit of one log: ``ask`` for live states if there may be any, ``fold``, then read what was found."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self.audit = Audit()
        self.shown: list[StateShown] = []
        self.compared: list[Compared] = []

    async def ask(self, channel: LiveChannel) -> None:
        """Ask the schedulers that are there for their states. None answering is no error."""
        shown: dict[tuple[str, str], StateShown] = {}

        def on_answer(subject: str, data: bytes) -> None:
            try:
                answer = msgspec.json.decode(data, type=StateShown)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return
            shown.setdefault((answer.instance, answer.incarnation), answer)

        stop = await channel.listen(STATE_SUBJECT, on_answer)
        try:
            await channel.send(AUDIT_SUBJECT, b"{}")
            until, count = self._clock.monotonic_s() + ANSWER_S, 0
            while self._clock.monotonic_s() < until:
                await self._clock.sleep(_LOOK_S)
                if len(shown) > count:
                    count, until = len(shown), self._clock.monotonic_s() + OTHERS_S
        finally:
            await stop()
        self.shown = sorted(shown.values(), key=lambda answer: (answer.seq, answer.instance))

    async def fold(self) -> None:
        """Fold the whole log, compare on the way, and finish the audit. Raises LogUnavailable, UnknownVersion."""
        reader = await through_an_election(self._log.read)
        try:
            with gc_paused():
                await self._read(reader)
        except LogCorrupt as corrupt:
            self.audit.findings.append(Finding("sequences", self.audit.seq, None, str(corrupt)))
        finally:
            await reader.close()
        for shown in self.shown[len(self.compared) :]:
            problem = f"the log ends at sequence {self.audit.seq}"
            self.compared.append(Compared(shown, Digest(""), (), problem))
        self.audit.finish()

    async def _read(self, reader: LogReader) -> None:
        wanted = max((shown.seq for shown in self.shown), default=0)
        self._compare_at(0)
        late_at = self._clock.monotonic_s() + BEHIND_S
        while not reader.caught_up or self.audit.seq < wanted:
            news = await reader.next(1.0)
            for recorded in news:
                if not self.audit.seq and recorded.seq > 1:
                    self._compare_at(recorded.seq - 1)
                self.audit.take(recorded.seq, recorded.subject, recorded.data)
                self._compare_at(recorded.seq)
            if news:
                late_at = self._clock.monotonic_s() + BEHIND_S
            elif self._clock.monotonic_s() > late_at:
                if reader.caught_up:
                    return
                raise LogUnavailable("the log could not be read to its end; try again")

    def _compare_at(self, seq: int) -> None:
        """Compare with those who have folded up to here; the answers are in the order of their sequences."""
        while len(self.compared) < len(self.shown) and self.shown[len(self.compared)].seq <= seq:
            self.compared.append(self._compare(self.shown[len(self.compared)]))

    def _compare(self, shown: StateShown) -> Compared:
        if shown.fold_version != FOLD_VERSION:
            problem = f"it has version {shown.fold_version} of the fold, this command has {FOLD_VERSION}"
            return Compared(shown, Digest(""), (), problem)
        if shown.seq != self.audit.state.seq:
            return Compared(shown, Digest(""), (), f"the log begins after sequence {shown.seq}")
        found = digests(self.audit.state)
        differing = [run for run, digest in shown.runs.items() if found.runs.get(run) != digest]
        differing += [run for run in found.runs if run not in shown.runs] if len(shown.runs) < len(found.runs) else []
        return Compared(shown, found.state, tuple(differing) if found.state != shown.digest else (), "")


async def missing_blobs(blobs: BlobStore, named: Mapping[Digest, str]) -> list[str]:
    """A sentence for each of these blobs that is not in the store as it was put there. Raises LogUnavailable."""
    problems: list[str] = []
    for digest, what in named.items():
        try:
            data = await blobs.get(digest)
            if what.rpartition(", ")[2].startswith("manifest of "):
                await blobs.get(msgspec.json.decode(data, type=Manifest).bundle)
        except BlobMissing:
            problems.append(f"{what}: blob {digest[:12]}, or one that it names, is not there")
        except BlobDamaged:
            problems.append(f"{what}: blob {digest[:12]}, or one that it names, is damaged")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            problems.append(f"{what}: blob {digest[:12]} is no manifest")
    return problems
