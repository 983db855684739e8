"""Where the runs of a world run: which lanes there are beside the local one, and what their tasks ask for there.

Invariant: drawn apart from plans, faults and agents, so that worlds with the local lane only stay as they were.
"""

from dataclasses import dataclass, field, replace
from random import Random

import msgspec

from pto_proto.events import FailureClass
from pto_proto.ids import Lane, RunId
from pto_proto.plans import DockerOptions, Resources, SlurmOptions, TaskSpec

from .plans import Ask

DOCKER = Lane("docker")
CLUSTERS = (Lane("slurm-default"), Lane("slurm-hpc"), Lane("parallelcluster-big"))
NODES = ("n1", "n2", "n3")
SHAKY: tuple[tuple[FailureClass, ...], ...] = ((), ("infra",), ("infra", "infra"), ("task", "infra"), ("timeout",))
"""What comes before everything else where nodes are bad and limits tight."""


@dataclass
class Places:
    """The lanes of a world beside the local one, and how rough it is there."""

    dispatchers: dict[str, Lane] = field(default_factory=dict)
    """Process -> its lane."""
    gone: float = 0.0
    """Chance that a container is not there any more when its dispatcher comes back."""
    requeues: float = 0.0
    """Chance that a cluster begins a job once more, under the same id."""
    aways: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Process -> (when as a part of the rage, for how many seconds) it is away so long that it might be given up."""


def spread_out(asks: dict[RunId, Ask], random: Random) -> Places:
    """In some worlds, let runs and tasks run in containers and on a cluster too."""
    if random.random() < 0.6:
        return Places()
    containers = [f"docker-{number}" for number in range(1, random.choice((0, 1, 2, 2)) + 1)]
    cluster = random.choice(CLUSTERS)
    places = Places(dict.fromkeys(containers, DOCKER))
    if not containers or random.random() < 0.6:
        places.dispatchers[f"{cluster}-1"] = cluster
    places.gone = random.choice((0.0, 0.0, 0.3))
    places.requeues = random.choice((0.0, 0.0, 0.3))
    for name in places.dispatchers:
        if random.random() < 0.3:
            places.aways[name] = (random.random(), random.choice((200.0, 330.0, 700.0, 1500.0)))
    is_shaky = random.random() < 0.5
    lanes = ["local", *dict.fromkeys(places.dispatchers.values())]
    for ask in asks.values():
        _place(ask, lanes, random)
        for spec in ask.plan.tasks if is_shaky else ():
            before = ask.behaviour(spec.id)
            ask.behaviours[spec.id] = replace(before, failures=(*random.choice(SHAKY), *before.failures))
    return places


def _place(ask: Ask, lanes: list[str], random: Random) -> None:
    is_mixed = random.random() < 0.5
    specs = [_elsewhere(spec, lanes, random) if is_mixed else spec for spec in ask.plan.tasks]
    ask.plan = msgspec.structs.replace(ask.plan, tasks=tuple(specs))
    ask.request = msgspec.structs.replace(
        ask.request,
        plan=ask.plan if ask.request.plan is not None else None,
        backend=_written(random.choice(lanes), random),
        planner_backend=DOCKER if DOCKER in lanes and random.random() < 0.6 else "",
        resources=Resources(
            cpus=random.choice((0, 2)), gpus=random.choice((0, 0, 1)), memory=random.choice(("", "4G")),
            time=random.choice(("", "01:00:00")),
        ),
        slurm=SlurmOptions(partition=random.choice(("", "compute")), account=random.choice(("", "lab"))),
        gpu_partition=random.choice(("", "gpu")),
        docker=DockerOptions(image=random.choice(("", "tools:1")), network=random.choice(("", "none"))),
    )  # fmt: skip


def _elsewhere(spec: TaskSpec, lanes: list[str], random: Random) -> TaskSpec:
    backend = random.choice(("", _written(random.choice(lanes), random)))
    resources = Resources(gpus=random.choice((0, 0, 2)), memory=random.choice(("", "1G")))
    return msgspec.structs.replace(spec, backend=backend, resources=resources)


def _written(lane: str, random: Random) -> str:
    """As a person writes it."""
    return "slurm" if lane == "slurm-default" and random.random() < 0.5 else lane
