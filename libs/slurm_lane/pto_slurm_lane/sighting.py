"""What has been seen of one job so far: looks at the cluster, words of the executor, the end of its log.

Imports ports, pto_slurm, pto_slurm_node and siblings. Invariants: only looks that began after the job was known count
for its absence; only words of the job itself, in its latest start, count as its result.
"""

from pathlib import Path
from typing import Any

from pto_ports.clock import Clock
from pto_slurm.evidence import Evidence
from pto_slurm.pending import DEPENDENCY_LOST
from pto_slurm.queue import JobRow
from pto_slurm.shape import JobShape
from pto_slurm.verdicts import PENDING, STARTING, SUSPENDED, THERE
from pto_slurm_lane.watch import Look
from pto_slurm_node.spool import INTERRUPTED, RESULT, STARTED, Event

TAIL_BYTES = 4096
CLOCKS_DIFFER_S = 60.0


class Sighting:
    """Of one job; begin another one when the attempt turns out to be another job."""

    def __init__(self, clock: Clock, job: str, comment: str, shape: JobShape | None) -> None:
        self._clock = clock
        self.job = job
        self._comment = comment
        self._limit_s = shape.minutes * 60.0 if shape else 0.0
        self._known_s = clock.monotonic_s()
        self._look = 0
        self._row: JobRow | None = None
        self._row_s = 0.0
        """When that was seen."""
        self._was_starting = False
        self._same_looks = 0
        self._absent_looks = 0
        self._absent_since_s = 0.0
        self._ended_since_s = 0.0
        self._events: dict[str, tuple[Event, dict[str, Any]]] = {}
        self.restart = 0

    @property
    def is_over(self) -> bool:
        """Whether SLURM has said that the job is no longer there."""
        if self._row is not None and self._absent_looks == 0:
            return self._row.state not in THERE
        return self._absent_looks > 0

    @property
    def was_seen(self) -> bool:
        """Whether SLURM has shown this very job, and not another one that has its id by now."""
        return self._row is not None

    @property
    def is_absent(self) -> bool:
        """Whether the last look did not have it."""
        return self._absent_looks > 0

    @property
    def waits_in_vain(self) -> bool:
        """Whether it can never start, because a job that it waits for did not end well."""
        return self._row is not None and self._row.reason == DEPENDENCY_LOST

    @property
    def node(self) -> str:
        """Where it ran, as far as was seen."""
        return self._row.nodes if self._row else str(self._said(STARTED).get("node", ""))

    @property
    def has_started(self) -> bool:
        """Whether its work began, by the executor's own word: a job that SLURM calls running may have no log, or wait
        for its node's file systems.
        """
        return STARTED in self._events or RESULT in self._events

    @property
    def is_called_running(self) -> bool:
        """Whether SLURM calls it so."""
        return self._row is not None and self._row.state in ("RUNNING", "COMPLETING")

    @property
    def result(self) -> dict[str, Any] | None:
        """What the executor wrote at its end."""
        return self._said(RESULT) or None

    def take_look(self, look: Look) -> None:
        """Note what a look has shown."""
        if look.number == self._look or look.began_s < self._known_s:
            return
        self._look = look.number
        row = look.jobs.get(self.job)
        if row is None or row.comment != self._comment:  # ids are used again
            self._absent_since_s = self._absent_since_s or look.began_s
            self._absent_looks += 1
            return
        self._absent_looks, self._absent_since_s = 0, 0.0
        self.take_row(row)

    def take_row(self, row: JobRow) -> None:
        """Note what SLURM, or its accounting, says of the job."""
        is_same = self._row is not None and (self._row.state, self._row.reason) == (row.state, row.reason)
        self._same_looks = self._same_looks + 1 if is_same else 1
        self._row, self._row_s = row, self._clock.monotonic_s()
        self.restart = max(self.restart, row.restarts)
        if row.state in THERE:
            self._was_starting = row.state in STARTING
        else:
            self._ended_since_s = self._ended_since_s or self._clock.monotonic_s()

    def take_event(self, event: Event, data: dict[str, Any]) -> bool:
        """Note what the executor says; False: it is not this job's word, or of a start before its last one."""
        if event.fence.job != self.job or event.fence.restart < self.restart:
            return False
        if event.fence.restart > self.restart:
            self._events.clear()
            self.restart = event.fence.restart
        self._events[event.kind] = (event, data)
        return True

    def evidence(self, *, is_ours: bool, out: Path, err: Path) -> Evidence:
        """Everything, for the table of verdicts."""
        row, now = self._row, self._clock.monotonic_s()
        is_gone = self._absent_looks > 0 and (row is None or row.state in THERE)
        state = "" if row is None or is_gone else row.state
        has_ended = bool(state) and state not in THERE
        return Evidence(
            state=state,
            reason=row.reason if row else "",
            exit_code=row.exit_code if row else None,
            signal=row.signal if row else 0,
            node=self.node,
            by=row.by if row else "",
            ran_s=self._ran_s(),
            limit_s=float(row.limit_s) if row and row.limit_s else self._limit_s,
            result=self.result,
            interrupted=INTERRUPTED in self._events,
            was_starting=self._was_starting and not self.has_started,
            has_log=out.exists() or err.exists() if has_ended else True,
            stderr=tail_of(err) if has_ended or is_gone else "",
            ours=is_ours,
            same_polls=self._same_looks,
            absent_polls=self._absent_looks,
            absent_s=now - self._absent_since_s if self._absent_looks else 0.0,
            ended_s=self._ended_s(now),
        )

    def _ended_s(self, now: float) -> float:
        """How long its end is known, or was the case before this process began; clocks may differ by a minute."""
        if not self._ended_since_s:
            return 0.0
        by_slurm = self._clock.now_ms() / 1000 - self._row.ended if self._row and self._row.ended else 0.0
        return max(now - self._ended_since_s, by_slurm - CLOCKS_DIFFER_S)

    def _said(self, kind: str) -> dict[str, Any]:
        return self._events[kind][1] if kind in self._events else {}

    def _ran_s(self) -> float:
        row = self._row
        if row is None or row.state in PENDING:
            return 0.0
        is_counting = row.state in THERE and row.state not in SUSPENDED
        until = self._absent_since_s or self._clock.monotonic_s()
        return row.used_s + (max(0.0, until - self._row_s) if is_counting else 0.0)


def tail_of(path: Path) -> str:
    """The last words in a file; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
