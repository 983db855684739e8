"""The pilots of one class of tasks, and the attempts that wait for them or are with them.

Imports ports, pto_slurm, pto_slurm_node and siblings. Invariants: which pilots are there is what SLURM says, besides
those that it has taken and not shown yet; a pilot that is over takes nothing any more, whatever still runs as it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from pto_ports.clock import Clock
from pto_slurm.evidence import Evidence
from pto_slurm.pilots import Demand, Launches, Pilot, PilotName, after_end, name_in, pilot_lead_s, pilot_shape
from pto_slurm.shape import JobShape
from pto_slurm.submission import Job
from pto_slurm.verdicts import THERE, JobFacts, Verdict, judge
from pto_slurm_lane.sighting import Sighting
from pto_slurm_lane.watch import Look
from pto_slurm_node.pool import Claim, PilotSettings, Pool
from pto_slurm_node.spool import private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pto_slurm.package import Installed
    from pto_slurm_lane.pooled import PooledAttempt

UNSURE_S = 30.0
"""A submission whose answer may hide a job keeps its place for so long, unless a look shows the job before."""

NOWHERE = -1
"""The place of a pilot that no look has shown."""
BEATS_EACH_S, SILENT_S = 30.0, 180.0
"""How often signs of life are read, and how long without one is told; only SLURM's word ends a pilot."""


class Flight(msgspec.Struct):
    """One pilot's job."""

    name: PilotName
    sighting: Sighting
    is_ours_to_end: bool = False
    """Whether its end was asked for."""
    is_counted: bool = False
    """Whether its end was."""
    has_worked: bool = False


class Wing:
    """Of one lane."""

    def __init__(self, lane: str, kind: str, task: JobShape, pool: Pool, clock: Clock) -> None:
        self.kind = kind
        self.task = task
        """What each of its tasks asks for."""
        self.shape = pilot_shape(task, 0)
        """Of its pilots."""
        self.pool = pool
        self.members: dict[str, PooledAttempt] = {}
        """Attempts by name, from their coming until their end is told."""
        self.settled: list[Claim] = []
        """Claims whose attempts' ends are told: they are to be cleared away."""
        self.launches = Launches()
        self.launching: set[int] = set()
        """Places whose pilot waits for its turn with sbatch."""
        self.unsure: dict[int, float] = {}
        """Places that may have a pilot which no look has shown, and since when."""
        self.leaving: set[str] = set()
        """Pilots that were told to go: they take nothing more, and are still there."""
        self._beats: dict[str, float] = {}
        self._beats_read_s = 0.0
        self._silent: set[str] = set()
        self._lane = lane
        self._clock = clock
        self._flights: dict[str, Flight] = {}

    def prepare(self, idle_s: float) -> None:
        """Make the pool's folders and say what pilots are to know."""
        self.pool.prepare(
            PilotSettings(
                minutes=self.shape.minutes,
                lead_s=pilot_lead_s(self.shape),
                task_s=self.task.minutes * 60.0,
                idle_s=idle_s,
            )
        )
        private_folder(self.logs)

    @property
    def logs(self) -> "Path":
        """Where its pilots' own output lies."""
        return self.pool.root / "logs"

    def log(self, slot: int, stream: str) -> "Path":
        """``out`` or ``err`` of the pilots of this place, one after the other."""
        return self.logs / f"{slot}.{stream}"

    def job(self, slot: int, installed: "Installed", python: str) -> Job:
        """The pilot of this place, as it is submitted."""
        name = self.name(slot)
        return Job(
            name=name.job_name,
            comment=name.comment,
            shape=self.shape,
            script=installed.script,
            arguments=installed.arguments("pilot", self.pool.root, python),
            folder=str(self.pool.root),
            stdout=str(self.log(slot, "out")),
            stderr=str(self.log(slot, "err")),
        )

    def name(self, slot: int) -> PilotName:
        """Of the pilot of this place."""
        return PilotName(self._lane, self.kind, slot)

    # --- what is seen of its pilots ---

    def submitted(self, slot: int, job: str) -> None:
        """SLURM has taken a pilot."""
        self.unsure.pop(slot, None)
        self._add(job, self.name(slot))

    def take_look(self, look: Look) -> None:
        """Note what a look has shown of its pilots; those of an earlier incarnation if they live or have an attempt."""
        busy = {member.job for member in self.members.values() if member.job}
        known = {job for job, flight in self._flights.items() if flight.name.slot != NOWHERE}
        for row in look.jobs.values():
            name = name_in(row.name)
            is_ours = name is not None and (name.lane, name.kind, name.comment) == (self._lane, self.kind, row.comment)
            is_news = row.job not in known and (row.state in THERE or row.job in busy)
            if name is not None and is_ours and is_news:
                self._add(row.job, name, is_counted=row.state not in THERE)
                self.unsure.pop(name.slot, None)
        for job in busy - self._flights.keys():  # SLURM has forgotten it, or does not show it yet
            self._add(job, self.name(NOWHERE), is_counted=True)
        for flight in self._flights.values():
            flight.sighting.take_look(look)
        self.unsure = {slot: since for slot, since in self.unsure.items() if look.began_s - since < UNSURE_S}

    def _add(self, job: str, name: PilotName, *, is_counted: bool = False) -> None:
        sighting = Sighting(self._clock, job, name.comment, self.shape)
        self._flights[job] = Flight(name, sighting, is_counted=is_counted)

    def scan(self) -> list[Claim]:
        """In a thread, as the shared folder may be slow: clear away what is settled; what is left."""
        settled, self.settled = self.settled, []
        for claim in settled:
            self.pool.clear(claim)
        if self._clock.monotonic_s() - self._beats_read_s >= BEATS_EACH_S:
            self._beats_read_s = self._clock.monotonic_s()
            self._beats = self.pool.last_beats()
        return self.pool.claims()

    def take_claims(self, claims: list[Claim]) -> list[Claim]:
        """Note who does what; returns claims of nobody's attempts."""
        strays = []
        for claim in claims:
            member = self.members.get(claim.entry.name)
            if member is None:
                strays.append(claim)
            else:
                member.taken_by(claim.job)
                self.has_worked(claim.job)
        return strays

    def has_worked(self, job: str) -> None:
        """This pilot does, or has done, an attempt."""
        if job in self._flights:
            self._flights[job].has_worked = True

    def evidence(self, job: str, *, is_ours: bool, result: Mapping[str, Any] | None) -> Evidence:
        """What is known of an attempt that this pilot has; a pilot that no look has shown yet is taken to live."""
        flight = self._flights.get(job)
        seen = Evidence(state="RUNNING") if flight is None else self._evidence(flight)
        # Its own time limit is none of its tasks' concern.
        return msgspec.structs.replace(seen, ours=is_ours, result=result, limit_s=0.0)

    def facts(self, job: str) -> JobFacts:
        """For the words of a verdict."""
        return JobFacts(job=job, memory_mb=self.shape.memory_mb, minutes=self.shape.minutes)

    def is_over(self, job: str) -> bool:
        """Whether SLURM has said that this pilot is no longer there."""
        flight = self._flights.get(job)
        return flight is not None and flight.sighting.is_over

    @property
    def there(self) -> int:
        """How many of its pilots there are or may be."""
        known = sum(1 for flight in self._flights.values() if not flight.sighting.is_over)
        return known + len(self.unsure.keys() | self.launching)

    def demand(self) -> Demand:
        """Its work and its pilots."""
        waiting = sum(1 for member in self.members.values() if member.is_waiting)
        doing = sum(1 for member in self.members.values() if member.job and not self.is_over(member.job))
        pilots = [
            Pilot(flight.name.slot, job, flight.sighting.is_called_running)
            for job, flight in self._flights.items()
            if flight.name.slot != NOWHERE
            and not flight.sighting.is_over
            and not (flight.is_ours_to_end and not flight.sighting.is_called_running)
        ]
        return Demand(
            waiting=waiting, doing=doing, pilots=tuple(pilots), unsure=frozenset((*self.unsure, *self.launching))
        )

    def idle(self) -> list[str]:
        """Pilots that do nothing, as far as is known."""
        busy = {member.job for member in self.members.values()}
        return [
            pilot.job
            for pilot in self.demand().pilots
            if pilot.is_running and pilot.job not in busy and pilot.job not in self.leaving
        ]

    def silent(self, now_s: float) -> list[tuple[str, int]]:
        """(job, minutes) of pilots that SLURM calls running and that stopped to show signs of life; each once."""
        running = {job for job, flight in self._flights.items() if flight.sighting.is_called_running}
        quiet = {job: now_s - beat for job, beat in self._beats.items() if now_s - beat > SILENT_S and job in running}
        fresh = [(job, int(quiet[job] // 60)) for job in quiet.keys() - self._silent]
        self._silent = {job for job in self._silent | quiet.keys() if job in quiet}
        return fresh

    def give_up_on(self, job: str) -> None:
        """Its end is asked for, and counts for nothing."""
        if job in self._flights:
            self._flights[job].is_ours_to_end = True

    def judged(self) -> list[tuple[str, Verdict]]:
        """(job, verdict) of pilots that can never start, and of those whose end was not counted yet."""
        found = []
        for job, flight in self._flights.items():
            if flight.is_counted or flight.is_ours_to_end:
                continue
            verdict = judge(self._evidence(flight), self.facts(job))
            if flight.sighting.is_over or (verdict.kind == "ended" and verdict.cancel):
                found.append((job, verdict))
        return found

    def count_end(self, job: str, verdict: Verdict) -> None:
        """A pilot is over, or can never start."""
        flight = self._flights[job]
        flight.is_counted = True
        seen = self._evidence(flight)
        self.launches = after_end(
            self.launches,
            ran_s=seen.ran_s,
            has_worked=flight.has_worked,
            words=_last_words(seen, verdict),
            now_s=self._clock.monotonic_s(),
        )

    def over(self) -> list[str]:
        """Pilots that are over and that no attempt is with any more."""
        busy = {member.job for member in self.members.values()}
        return [job for job, flight in self._flights.items() if flight.sighting.is_over and job not in busy]

    def forget(self, job: str) -> None:
        """A pilot is over and buried."""
        del self._flights[job]
        self.leaving.discard(job)

    def reasons(self) -> set[str]:
        """Why its pilots wait, in SLURM's words."""
        evidence = [self._evidence(flight) for flight in self._flights.values()]
        return {seen.reason for seen in evidence if seen.state == "PENDING" and seen.reason}

    def _evidence(self, flight: Flight) -> Evidence:
        slot = flight.name.slot
        return flight.sighting.evidence(is_ours=False, out=self.log(slot, "out"), err=self.log(slot, "err"))


def _last_words(seen: Evidence, verdict: Verdict) -> str:
    said = [line.strip() for line in seen.stderr.splitlines() if line.strip()]
    return verdict.reason or (said[-1] if said else f"SLURM says {seen.state or 'nothing'}")
