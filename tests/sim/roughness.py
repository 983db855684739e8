"""How rough a world is: which faults happen in it and how often, drawn from its seed.

Invariant: each kind of fault is left out of about half of the worlds, so that no fault always hides another one.
"""

from dataclasses import dataclass, fields
from random import Random


@dataclass
class Network:
    """Chances per message or read."""

    latency_s: float = 0.003
    unavailable: float = 0.0
    """The log says at once that it cannot be reached."""
    lost_request: float = 0.0
    """Nothing is stored, and nobody says so."""
    lost_answer: float = 0.0
    """Stored, and nobody says so."""
    parked: float = 0.0
    """Stored long after the writer was told to look for itself."""
    forgetful: float = 0.0
    """A repeated message is stored once more."""
    echo: float = 0.0
    """Stored twice."""
    lag: float = 0.0
    """A read gets its news seconds late."""
    pieces: float = 0.0
    """A read gets only the first part of its news."""
    lost_beat: float = 0.0
    """A sign of life vanishes."""
    lost_blob: float = 0.0
    """The blob store is away for this read."""

    def calm(self) -> None:
        """No more faults; what was slow stays slow."""
        for field in fields(self):
            if field.name != "latency_s":
                setattr(self, field.name, 0.0)


@dataclass
class Manners:
    """What executors do that they should not, each as a chance per attempt."""

    twice: float = 0.0
    """The start and the end are reported again."""
    contradict: float = 0.0
    """Another end is reported after the first one."""
    stale: float = 0.0
    """An end of the attempt before this one is reported."""
    late: float = 0.0
    """The end is reported once more, long after."""
    unheard: float = 0.0
    """An attempt is reported that was never ordered: its run is quarantined."""
    dawdle: float = 0.0
    """It takes long to end when it is asked to stop."""
    slow: float = 0.0
    """It takes much longer than others."""

    def calm(self) -> None:
        """Honest from now on."""
        for field in fields(self):
            setattr(self, field.name, 0.0)


@dataclass
class Profile:
    """One world."""

    network: Network
    manners: Manners
    rage_s: float
    """How long faults go on."""
    crashes: float
    """Per minute of rage, all processes together; the same for the next ones."""
    freezes: float
    cuts: float
    chokes: float
    """Times in which what a process sends arrives and nothing comes back."""
    deaf: float
    """Times in which no sign of life of one process gets through."""
    ambushes: float
    """Chance per stored event that one of those happens right then, to somebody whom the event concerns."""
    long: float
    """How many of the disturbances last so long that others draw conclusions."""
    cancels: float
    """Chance per run, the same for the next ones."""
    pauses: float
    budgets: float
    again: float
    """Chance per run that its plan is asked for once more, as a run that takes over what is done."""
    repeated_requests: float
    skew_ms: int
    survivors: bool
    """Whether attempts outlive their dispatcher and are found again."""


def draw_profile(random: Random) -> Profile:
    """The profile of a world."""

    def maybe(low: float, high: float, chance: float = 0.5) -> float:
        value = low * (high / low) ** random.random()
        return value if random.random() < chance else 0.0

    network = Network(
        latency_s=random.choice((0.001, 0.003, 0.02)),
        unavailable=maybe(0.005, 0.1),
        lost_request=maybe(0.005, 0.1),
        lost_answer=maybe(0.005, 0.1),
        parked=maybe(0.005, 0.05, 0.4),
        forgetful=maybe(0.1, 1.0, 0.4),
        echo=maybe(0.02, 0.3, 0.3),
        lag=maybe(0.005, 0.1),
        pieces=maybe(0.05, 0.5),
        lost_beat=maybe(0.01, 0.3, 0.3),
        lost_blob=maybe(0.05, 0.3, 0.3),
    )
    manners = Manners(
        twice=maybe(0.05, 0.5, 0.4),
        contradict=maybe(0.05, 0.3, 0.3),
        stale=maybe(0.05, 0.5, 0.4),
        late=maybe(0.05, 0.3, 0.3),
        unheard=maybe(0.02, 0.1, 0.06),
        dawdle=maybe(0.1, 0.5, 0.4),
        slow=maybe(0.02, 0.2, 0.4),
    )
    return Profile(
        network=network,
        manners=manners,
        rage_s=random.choice((5.0, 10.0, 20.0, 40.0)),
        crashes=maybe(2.0, 20.0, 0.6),
        freezes=maybe(1.0, 12.0, 0.5),
        cuts=maybe(1.0, 10.0, 0.4),
        chokes=maybe(1.0, 10.0, 0.4),
        deaf=maybe(1.0, 6.0, 0.3),
        ambushes=maybe(0.02, 0.2, 0.6),
        long=random.choice((0.0, 0.2, 0.7)),
        cancels=random.choice((0.0, 0.0, 0.0, 0.5)),
        pauses=random.choice((0.0, 0.0, 0.3)),
        budgets=random.choice((0.0, 0.0, 0.4)),
        again=random.choice((0.0, 0.0, 0.3)),
        repeated_requests=random.choice((0.0, 0.2)),
        skew_ms=random.choice((0, 0, 50, 3_000)),
        survivors=random.random() < 0.3,
    )


def calm_profile() -> Profile:
    """A world without faults."""
    faults = {field.name: 0.0 for field in fields(Profile)}
    return Profile(**{**faults, "network": Network(), "manners": Manners(), "skew_ms": 0, "survivors": False})  # type: ignore[arg-type]
