"""Dispatchers in this process: which module serves a lane, what it is told, and which lanes a run needs.

Part of the command line's wiring. Imports core and registry; a dispatcher only when a run needs it, because some
bring a large library along. Invariant: what a dispatcher is told beside its environment is in the run's note, so that
whoever hosts the run again tells it the same.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_cli.registry import Dispatchers
from pto_core.lanes import backend_of, lane_named
from pto_proto.ids import LANE_LOCAL, Lane

if TYPE_CHECKING:
    from pto_cli.backend_flags import BackendChoice
    from pto_cli.host import Serve
    from pto_proto.plans import Plan
    from pto_runtime.settings import Settings

_MODULES = {
    "local": "pto_dispatcher_local.main",
    "docker": "pto_dispatcher_docker.main",
    "slurm": "pto_dispatcher_slurm.main",
    "parallelcluster": "pto_dispatcher_parallelcluster.main",
}
"""Backend of a lane -> where its dispatcher's ``serve`` is."""
CLUSTERS = ("slurm", "parallelcluster")
"""Backends whose dispatchers have a spool."""
_PREFIXES = ("PTO_DOCKER_", "PTO_SLURM_", "PTO_AWS_")
"""Of variables that are a backend's own."""


def needed(choice: "BackendChoice", plan: "Plan | None") -> Dispatchers:
    """Those of the run's lane, or of the lanes that its plan names, and of the one that makes its plan."""
    lanes = {choice.lane} if plan is None else lanes_of(plan, choice.lane)
    if plan is None and choice.planner_backend:
        lanes.add(lane_named(choice.planner_backend))
    return Dispatchers(lanes=tuple(sorted(lanes)), told=choice.told)


def lanes_of(plan: "Plan", backend: str) -> set[Lane]:
    """The lanes in which tasks of this plan run, in a run on this backend."""
    return {lane_named(spec.backend or backend) for spec in plan.tasks}


def serving(dispatchers: Dispatchers) -> "list[tuple[Lane, Serve]]":
    """(lane, service) of each."""
    return [(lane, import_module(_MODULES[backend_of(lane)]).serve) for lane in dispatchers.lanes]


def told_settings(base: "Settings", lane: Lane, dispatchers: Dispatchers, environment: Mapping[str, str]) -> "Settings":
    """``base`` with what the dispatcher of this lane is told about its backend. Raises BadSettings."""
    if lane == LANE_LOCAL:
        return base
    from pto_runtime.settings import BadSettings
    from pto_runtime.variables import SETTINGS

    said = {**environment, **dispatchers.told, **_place(lane, {**environment, **dispatchers.told})}
    values: dict[str, Any] = {}
    problems = []
    for name, setting in SETTINGS.items():
        if setting.name.startswith(_PREFIXES):
            text = said.get(setting.name, "") or setting.default
            try:
                values[name] = setting.parse(text)
            except ValueError as error:
                problems.append(f"{setting.name} {error}" + ("" if setting.is_secret else f", not {text!r}"))
    if problems:
        raise BadSettings("\n".join(problems))
    told = replace(base, **values)
    # Each run has dispatchers of its own, and each dispatcher a spool that is nobody else's.
    if told.slurm_spool is not None:
        told = replace(told, slurm_spool=told.slurm_spool / base.snapshots.parent.name)
    own = spool_of(lane, dispatchers.lanes, told.slurm_folder)
    return told if own == told.slurm_folder else replace(told, slurm_spool=own)


def spool_of(lane: Lane, lanes: Collection[Lane], folder: Path) -> Path:
    """The spool of this lane's dispatcher in a run with these lanes, whose spools are in ``folder``."""
    return folder / lane if sum(backend_of(one) in CLUSTERS for one in lanes) > 1 else folder


def _place(lane: Lane, said: Mapping[str, str]) -> dict[str, str]:
    """What says which site or cluster it is: the lane's own word, unless the cluster's name is known better."""
    from pto_core.lanes import cluster_lane

    backend, _, place = lane.partition("-")
    if backend == "slurm":
        return {"PTO_SLURM_SITE": place}
    if backend != "parallelcluster":
        return {}
    known = said.get("PTO_AWS_CLUSTER", "")
    try:
        return {} if known and cluster_lane(known) == lane else {"PTO_AWS_CLUSTER": place}
    except ValueError:
        return {"PTO_AWS_CLUSTER": place}
