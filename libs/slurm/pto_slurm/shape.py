"""What a job asks SLURM for: a task's resources and its site's settings, turned into numbers and checked.

Imports core and proto; pure. Invariants: a shape holds nothing that sbatch could take for an option or a list; all
that is wrong with a task is said at once.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from pto_core.units import parse_memory_bytes, parse_time_s, slurm_time
from pto_proto.plans import Problem, Resources, TaskSpec

CLUSTERS_DEFAULT = "default"
"""As the name of a partition: whichever one the cluster takes by itself."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:+-]{0,127}\Z", re.ASCII)
CONSTRAINT = re.compile(r"[A-Za-z0-9_(\[][A-Za-z0-9_.,@:+|&!*()\[\]-]{0,127}\Z", re.ASCII)
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z", re.ASCII)
MAX_CPUS = 65_536
MAX_EXCLUDED = 64
"""More nodes than that are no repeat offenders: the site is ill, and a job that excludes them all never starts."""
MORE_MEMORY = 2.0
MORE_TIME = 1.5
"""What the next attempt asks for after one that had too little."""
LEAD_S = 90
"""So long before its time limit a job is told to end, so that it can keep what it has."""
NO_LEAD_MINUTES = 10
"""Shorter jobs are not told: SLURM may do so up to a minute early, which takes half of a short job. They still get
SLURM's own SIGTERM at the limit, and the harness ends a task at its own one.
"""
_MB = 2**20


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a site's jobs ask for where neither their task nor its run says anything."""

    cpus: int = 1
    memory: str = "4G"
    gpus: int = 0
    time: str = "01:00:00"
    partition: str = ""
    """Empty, or ``default``: the cluster's default."""
    gpu_partition: str = ""
    """Of jobs with GPUs whose task names no partition."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    max_memory: str = ""
    """What a retry after running out of memory may grow to; empty: twice what the task asked for, once."""
    max_time: str = ""
    """The same for time."""


class JobShape(msgspec.Struct, frozen=True, kw_only=True):
    """Resources and place of one job, checked; empty names mean the cluster's default."""

    cpus: int = 1
    memory_mb: int = 4096
    gpus: int = 0
    minutes: int = 60
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclude: tuple[str, ...] = ()

    @property
    def lead_s(self) -> int:
        """How long before the limit the job is told to end; 0: only at the limit itself."""
        return LEAD_S if self.minutes >= NO_LEAD_MINUTES else 0


class Unplaceable(ValueError):
    """The task asks for something that no job can ask for."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def shape_of(spec: TaskSpec, site: Site, *, again: Resources | None = None, exclude: tuple[str, ...] = ()) -> JobShape:
    """The job of a task whose run's own settings are filled in. Raises Unplaceable.

    ``again`` is what an earlier attempt showed to be needed; it counts where it is more than what the task says.
    """
    asked, wanted, problems = spec.resources, spec.slurm, list[Problem]()

    def number(name: str, text: str, parse: Callable[[str], int]) -> int:
        try:
            return parse(text)
        except ValueError as error:
            problems.append(Problem(where=f"{spec.id}.resources.{name}", what=str(error)))
            return 0

    gpus = asked.gpus or site.gpus
    memory = number("memory", asked.memory or site.memory, parse_memory_bytes)
    seconds = number("time", asked.time or site.time, parse_time_s)
    if again is not None:
        memory = max(memory, parse_memory_bytes(again.memory) if again.memory else 0)
        seconds = max(seconds, parse_time_s(again.time) if again.time else 0)
    partition = wanted.partition or (site.gpu_partition if gpus else "") or site.partition
    shape = JobShape(
        cpus=asked.cpus or site.cpus,
        memory_mb=-(-memory // _MB),
        gpus=gpus,
        minutes=-(-seconds // 60),
        partition="" if partition == CLUSTERS_DEFAULT else partition,
        account=wanted.account or site.account,
        qos=wanted.qos or site.qos,
        constraint=wanted.constraint or site.constraint,
        exclude=tuple(sorted(set(exclude)))[:MAX_EXCLUDED],
    )
    problems += _wrong_with(shape, spec.id)
    if problems:
        raise Unplaceable(tuple(problems))
    return shape


def _wrong_with(shape: JobShape, task: str) -> Iterator[Problem]:
    if not 1 <= shape.cpus <= MAX_CPUS:
        yield Problem(where=f"{task}.resources.cpus", what=f"must be 1 to {MAX_CPUS}, not {shape.cpus}")
    if not 0 <= shape.gpus <= MAX_CPUS:
        yield Problem(where=f"{task}.resources.gpus", what=f"must be 0 to {MAX_CPUS}, not {shape.gpus}")
    for field in ("partition", "account", "qos", "constraint"):
        word = getattr(shape, field)
        grammar = CONSTRAINT if field == "constraint" else NAME
        if word and not grammar.match(word):
            what = f"{word[:80]!r} is no name of a {field}; use letters, digits and _ . , : + -, not first a -"
            yield Problem(where=f"{task}.slurm.{field}", what=what)
    for node in shape.exclude:
        if not NODE.match(node):
            yield Problem(where=f"{task}.exclude", what=f"{node[:80]!r} is no name of a node")


def more_memory(shape: JobShape, spec: TaskSpec, site: Site) -> Resources | None:
    """What the attempt after one that ran out of memory is to ask for; None: not more than this one did."""
    return _more("memory", shape.memory_mb, spec, site)


def more_time(shape: JobShape, spec: TaskSpec, site: Site) -> Resources | None:
    """The same after one that ran into its time limit."""
    return _more("time", shape.minutes, spec, site)


def _more(what: str, had: int, spec: TaskSpec, site: Site) -> Resources | None:
    first = shape_of(spec, site)
    if what == "memory":
        cap = parse_memory_bytes(site.max_memory) // _MB if site.max_memory else int(first.memory_mb * MORE_MEMORY)
        wanted = min(cap, int(had * MORE_MEMORY))
        return Resources(memory=f"{wanted}M") if wanted > had else None
    cap = parse_time_s(site.max_time) // 60 if site.max_time else int(first.minutes * MORE_TIME + 0.5)
    wanted = min(cap, int(had * MORE_TIME + 0.5))
    return Resources(time=slurm_time(wanted * 60)) if wanted > had else None
