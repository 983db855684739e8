"""Lanes by the names that people write, and on what a task runs there: its plan's word first, then the run's.

Imports pto_proto only. Invariants: a run's own values reach the tasks of its plan in its own lane only, and never
replace what the plan says; a task for which there is nothing to fill in stays the same object.
"""

import hashlib
import re
from typing import TypeVar

import msgspec

from pto_proto.ids import LANE_DOCKER, LANE_LOCAL, Lane
from pto_proto.plans import DockerOptions, Resources, SlurmOptions, TaskSpec
from pto_proto.requests import RunRequested

ONE_LANE = (LANE_LOCAL, LANE_DOCKER)
"""Backends with a single lane, which is called as they are."""
LANE_PER_PLACE = ("slurm", "parallelcluster")
"""Backends with a lane for each site or cluster: its name follows behind a dash."""
SHORT = {"slurm": Lane("slurm-default")}
"""What people may write instead of a lane."""
Options = TypeVar("Options", Resources, SlurmOptions)
MAX_PLACE_CHARS = 48
"""Of a site's or cluster's name in a lane; what is longer is cut and told apart by its hash."""
_PLACE = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_CLUSTER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}\Z")
_NOTHING = (Resources(), SlurmOptions(), "")
_OWN_MARK = "_"
"""Begins the ids of the system's own tasks."""


def lane_named(backend: str) -> Lane:
    """The lane that a plan or a request means by ``backend``."""
    return SHORT.get(backend) or Lane(backend)


def backend_of(lane: Lane) -> str:
    """The backend of a lane, such as ``slurm`` of ``slurm-hpc1``."""
    return lane.partition("-")[0]


def site_lane(site: str) -> Lane:
    """The lane of a SLURM site. Raises ValueError with one sentence."""
    if not _PLACE.match(site) or len(site) > MAX_PLACE_CHARS:
        raise ValueError(f"{site[:80]!r} is no name of a site; use 1-{MAX_PLACE_CHARS} of a-z, 0-9 and '-'")
    return Lane(f"slurm-{site}")


def cluster_lane(cluster: str) -> Lane:
    """The lane of an AWS ParallelCluster, whose name may have capitals. Raises ValueError with one sentence."""
    if not _CLUSTER.match(cluster):
        what = "is no name of a cluster; those have 1-60 letters, digits and '-', beginning with a letter"
        raise ValueError(f"{cluster[:80]!r} {what}")
    place = cluster.lower()
    if len(place) > MAX_PLACE_CHARS:
        mark = hashlib.sha256(place.encode()).hexdigest()[:8]
        place = f"{place[: MAX_PLACE_CHARS - len(mark) - 1]}-{mark}"
    return Lane(f"parallelcluster-{place}")


def placed(request: RunRequested, spec: TaskSpec, again: Resources | None = None) -> TaskSpec:
    """The task as it is handed out: the run's resources and SLURM settings where its plan leaves them open, and the
    memory and time of ``again``, which an attempt before asked for.
    """
    if again is not None and (again.memory or again.time):
        spec = placed(request, spec)
        memory, time = again.memory or spec.resources.memory, again.time or spec.resources.time
        resources = msgspec.structs.replace(spec.resources, memory=memory, time=time)
        return msgspec.structs.replace(spec, resources=resources)
    if (request.resources, request.slurm, request.gpu_partition) == _NOTHING or not _is_at_home(request, spec):
        return spec
    resources = _filled(spec.resources, request.resources)
    slurm = spec.slurm
    if resources.gpus and request.gpu_partition and not slurm.partition:
        slurm = msgspec.structs.replace(slurm, partition=request.gpu_partition)
    slurm = _filled(slurm, request.slurm)
    if resources is spec.resources and slurm is spec.slurm:
        return spec
    return msgspec.structs.replace(spec, resources=resources, slurm=slurm)


def placed_resources(request: RunRequested, spec: TaskSpec) -> Resources:
    """``placed(request, spec).resources``, without the rest."""
    if request.resources == _NOTHING[0] or not _is_at_home(request, spec):
        return spec.resources
    return _filled(spec.resources, request.resources)


def containers(request: RunRequested, lane: Lane) -> DockerOptions:
    """What containers of the run are made of in this lane; nothing where there are none."""
    return request.docker if lane == LANE_DOCKER else _NO_CONTAINERS


_NO_CONTAINERS = DockerOptions()


def _is_at_home(request: RunRequested, spec: TaskSpec) -> bool:
    if spec.id.startswith(_OWN_MARK):
        return False
    return not spec.backend or lane_named(spec.backend) == lane_named(request.backend)


def _filled(own: Options, whole_run: Options) -> Options:
    """``own`` with the fields of ``whole_run`` that it leaves open; the same object if there are none."""
    missing = {
        name: value for name in own.__struct_fields__ if not getattr(own, name) and (value := getattr(whole_run, name))
    }
    return msgspec.structs.replace(own, **missing) if missing else own
