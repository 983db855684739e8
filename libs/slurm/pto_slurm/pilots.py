"""How many pilots there are to be, and when to stop starting them. Pilots are jobs that do one attempt after another.

Imports core, proto and siblings; pure. Invariants: never more pilots than allowed, by what SLURM says is there and not
by what we think we submitted; allocations that fail at once are started ever more rarely, and in the end not at all.
"""

import hashlib
import re

import msgspec

from pto_slurm.shape import LEAD_S, JobShape

TASKS_EACH = 4
"""A pilot's time limit is that of so many of its tasks, if each takes all of its own."""
MIN_MINUTES = 60
FAST_S = 30.0
"""A pilot that ended so soon after its start, and has done nothing, failed at its start."""
FIRST_REST_S, MAX_REST_S = 10.0, 600.0
GIVE_UP_AFTER = 5
"""So many failed starts in a row are no accident."""
_NAME = re.compile(r"(?P<lane>pto-pilot-[0-9a-f]{8})-(?P<kind>[0-9a-f]{12})-(?P<slot>\d+)\Z", re.ASCII)


class PilotName(msgspec.Struct, frozen=True):
    """A pilot's job by its name: the lane that it belongs to, the class of its tasks, its place in it."""

    lane: str
    kind: str
    slot: int

    @property
    def job_name(self) -> str:
        """One place, one name, so that two jobs for it never run at once."""
        return f"{self.lane}-{self.kind}-{self.slot}"

    @property
    def comment(self) -> str:
        """To be matched in full."""
        return f"pto-pilot:{self.lane}/{self.kind}/{self.slot}"


class Pilot(msgspec.Struct, frozen=True):
    """One that SLURM says is there."""

    slot: int
    job: str
    is_running: bool


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """One class of tasks, as it is now."""

    waiting: int
    """Attempts that no pilot has taken."""
    doing: int
    """Attempts that pilots do."""
    pilots: tuple[Pilot, ...] = ()
    unsure: frozenset[int] = frozenset()
    """Places for which a pilot may have been submitted that SLURM does not show yet."""


class Moves(msgspec.Struct, frozen=True):
    """What is to be done for one class."""

    submit: tuple[int, ...] = ()
    """Places that get a pilot."""
    cancel: tuple[str, ...] = ()
    """Jobs that wait and are not needed any more."""
    release: int = 0
    """How many idle pilots may go, because another class has none."""


class Launches(msgspec.Struct, frozen=True):
    """How the starts of one class's pilots went lately."""

    failed: int = 0
    """In a row."""
    rest_until_s: float = 0.0
    words: str = ""
    """Why the last one failed."""

    @property
    def is_hopeless(self) -> bool:
        """Whether no more are to be started."""
        return self.failed >= GIVE_UP_AFTER


def lane_of(spool: str) -> str:
    """The first part of the names of a lane's pilots: another dispatcher's of the same user are not touched."""
    return f"pto-pilot-{hashlib.sha256(spool.encode()).hexdigest()[:8]}"


def kind_of(shape: JobShape) -> str:
    """The class of tasks of this shape."""
    return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()[:12]


def name_in(job_name: str) -> PilotName | None:
    """The pilot that a job of this name is; None: it is none."""
    match = _NAME.match(job_name)
    return PilotName(match["lane"], match["kind"], int(match["slot"])) if match else None


def is_pooled(shape: JobShape) -> bool:
    """Whether tasks of this shape are done by pilots: an idle GPU is too dear, and who avoids nodes is alone."""
    return not shape.gpus and not shape.exclude


def pilot_shape(shape: JobShape, most_minutes: int) -> JobShape:
    """What a pilot asks for: what one task asks for, for longer; ``most_minutes`` is the site's limit (0: none)."""
    minutes = max(MIN_MINUTES, shape.minutes * TASKS_EACH)
    if most_minutes:
        minutes = max(min(minutes, most_minutes), shape.minutes)
    return msgspec.structs.replace(shape, minutes=minutes)


def pilot_lead_s(shape: JobShape) -> int:
    """How long before its end a pilot takes nothing more: before SLURM tells it to end."""
    return min(LEAD_S, shape.lead_s) + 30


def moves(demand: Demand, *, room: int, launches: Launches, now_s: float) -> Moves:
    """What one class needs; ``room`` is how many pilots more the lane may have over all classes."""
    there = len({pilot.slot for pilot in demand.pilots} | demand.unsure)
    wanted = demand.waiting + demand.doing
    pending = [pilot for pilot in demand.pilots if not pilot.is_running]
    idle = max(0, len(demand.pilots) - len(pending) - demand.doing)
    if there > wanted:
        surplus = sorted(pending, key=lambda pilot: pilot.slot, reverse=True)[: there - wanted]
        return Moves(cancel=tuple(pilot.job for pilot in surplus), release=idle if not demand.waiting else 0)
    if launches.is_hopeless or now_s < launches.rest_until_s:
        return Moves()
    taken = {pilot.slot for pilot in demand.pilots} | demand.unsure
    missing = min(wanted - there, max(0, room), max(0, demand.waiting - len(pending) - len(demand.unsure) - idle))
    free = (slot for slot in range(len(taken) + missing) if slot not in taken)
    return Moves(submit=tuple(slot for slot, _ in zip(free, range(missing), strict=False)))


def after_end(launches: Launches, *, ran_s: float, has_worked: bool, words: str, now_s: float) -> Launches:
    """What the end of a pilot shows: one that has worked, or lived for a while, was started well."""
    if has_worked or ran_s >= FAST_S:
        return Launches()
    failed = launches.failed + 1
    rest_s = min(MAX_REST_S, FIRST_REST_S * 2 ** (failed - 1))
    return Launches(failed, now_s + rest_s, words)


def shares(most: int, demands: dict[str, Demand]) -> dict[str, int]:
    """Class -> how many pilots more it may have, so that all together have no more than ``most``.

    Classes that have none come first, then those with the fewest: none waits for ever behind a big one.
    """
    have = {kind: len({pilot.slot for pilot in demand.pilots} | demand.unsure) for kind, demand in demands.items()}
    left, room = most - sum(have.values()), dict.fromkeys(demands, 0)
    needy = [kind for kind, demand in demands.items() if demand.waiting]
    while left > 0 and needy:
        needy.sort(key=lambda kind: (have[kind] + room[kind], kind))
        kind = needy[0]
        if have[kind] + room[kind] >= demands[kind].waiting + demands[kind].doing:
            needy.remove(kind)
            continue
        room[kind] += 1
        left -= 1
    return room


def is_starved(most: int, demands: dict[str, Demand]) -> bool:
    """Whether a class has work and no pilot, while the lane may have no more of them."""
    have = [len(demand.pilots) + len(demand.unsure) for demand in demands.values()]
    hungry = any(demand.waiting and not demand.pilots and not demand.unsure for demand in demands.values())
    return hungry and sum(have) >= most
