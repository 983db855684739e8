"""Whether the backends of a run can take its tasks: asked before anything is started, and by ``orchestrator doctor``.

Part of the command line's wiring. Imports core, registry and siblings; a backend's checks only for a run that needs
them. Invariant: all that is wrong is said at once; what does not work now but may later is only noted.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pto_cli.backend_flags import BackendChoice
from pto_cli.dispatchers import CLUSTERS, needed, spool_of, told_settings
from pto_cli.problems import Unavailable, WrongUse
from pto_cli.registry import state_home
from pto_core.lanes import backend_of, lane_named, placed
from pto_proto.ids import LANE_DOCKER, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec

if TYPE_CHECKING:
    from pto_cli.prepare import Prepared
    from pto_runtime.settings import Settings

MAX_SHOWN = 20
"""Problems of one cluster that are named; the rest is counted."""
_FOLDER = "doctor"
"""Below the state folder: on the file system that runs use, too."""
ANY_TASK = TaskId("every-task")
"""Stands for the tasks of a plan that is still to be made."""
Found = tuple[str, str, str]
"""(``ok``, ``note`` or ``FAIL``, what, what was found)."""


def check_backends(prepared: "Prepared") -> list[str]:
    """What is to be said about the run's backends. Raises WrongUse for what no node has, Unavailable, BadSettings."""
    return asyncio.run(_check(prepared.options.backend, prepared.expanded))


async def _check(choice: BackendChoice, plan: Plan | None) -> list[str]:
    wrong: list[str] = []
    away: list[str] = []
    notices: list[str] = []
    for lane in needed(choice, plan).lanes:
        settings, backend = lane_settings(choice, lane), backend_of(lane)
        if backend == LANE_DOCKER:
            from pto_dispatcher_docker.checks import problems

            away += await problems(settings, choice.docker)
        if backend == "parallelcluster":
            away += [f"{what}: {said}" for mark, what, said in await _account(settings) if mark in ("FAIL", "AWAY")]
        if backend in CLUSTERS:
            away += _spool(settings)
            more, noted = await _cluster(tasks_of(choice, plan, lane), away)
            wrong += more
            notices += noted
    if wrong:
        raise WrongUse(*wrong, *away)
    if away:
        raise Unavailable("\n".join(away))
    return notices


async def look(choice: BackendChoice) -> AsyncIterator[Found]:
    """All checks of the chosen backend, for ``doctor``. Raises BadSettings."""
    lane = choice.lane
    settings, backend = lane_settings(choice, lane), backend_of(lane)
    if LANE_DOCKER in (backend, choice.planner_backend):
        from pto_dispatcher_docker.checks import checks

        async for found in checks(settings, choice.docker):
            yield found
    if backend == "parallelcluster":
        for mark, what, said in await _account(settings):
            yield ("FAIL" if mark == "AWAY" else mark), what, said
    if backend in CLUSTERS:
        from pto_slurm_lane import checks as cluster

        (task,) = tasks_of(choice, None, lane)
        asked = cluster.Cluster(settings.slurm_folder, settings.slurm_python, task)
        async for found in cluster.checks(asked, os.environ):
            yield found
        with suppress(OSError):  # not empty where a spool of one's own was named
            (state_home() / _FOLDER).rmdir()


def dry_run_lines(choice: BackendChoice, plan: Plan, run: RunId) -> list[str]:
    """What would be started for the plan's tasks on other backends than this machine. Raises WrongUse, BadSettings."""
    lines, lanes = [], needed(choice, plan).lanes
    for lane in lanes:
        settings, backend, tasks = lane_settings(choice, lane), backend_of(lane), tasks_of(choice, plan, lane)
        if backend == LANE_DOCKER:
            from pto_dispatcher_docker.dry_run import dry_run_lines as container_lines

            lines += ["", f"lane {lane}:", *container_lines(tasks, choice.docker, settings)]
        elif backend in CLUSTERS:
            from pto_slurm_lane.dry_run import dry_run_lines as job_lines

            named = settings.slurm_spool
            spool = named.with_name(run) if named is not None else state_home() / "runs" / run / "slurm"
            own = spool_of(lane, lanes, spool.absolute())
            lines += ["", f"lane {lane}:", *job_lines(tasks, run, own, settings.slurm_python)]
    return lines


def lane_settings(choice: BackendChoice, lane: Lane) -> "Settings":
    """What the dispatcher of this lane would be told, as far as its backend is concerned. Raises BadSettings."""
    from dataclasses import replace

    from pto_cli.engines import service_settings
    from pto_cli.model_flags import SIMULATED

    base = replace(service_settings(SIMULATED, os.environ), snapshots=state_home() / _FOLDER / "snapshots")
    return told_settings(base, lane, needed(choice, None), os.environ)


def tasks_of(choice: BackendChoice, plan: Plan | None, lane: Lane) -> list[TaskSpec]:
    """The tasks of this lane as they would be handed out; one for all where the plan is still to be made."""
    from pto_proto.requests import RunRequested

    request = RunRequested(
        run=RunId("not-asked-for-yet"),
        backend=choice.lane,
        resources=choice.resources,
        slurm=choice.slurm,
        gpu_partition=choice.gpu_partition,
    )
    specs: Sequence[TaskSpec] = (TaskSpec(id=ANY_TASK),) if plan is None else plan.tasks
    return [placed(request, spec) for spec in specs if lane_named(spec.backend or choice.lane) == lane]


def _spool(settings: "Settings") -> list[str]:
    """What is wrong with the folder that was named for all spools; nothing is made to find out."""
    if settings.slurm_spool is None:
        return []
    named = settings.slurm_spool.parent
    there = next(folder for folder in (named, *named.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    what = "is no folder" if not there.is_dir() else "may not be written by you"
    return [f"PTO_SLURM_SPOOL: {there} {what}: name a folder that you may write, at the same path on all nodes"]


async def _cluster(tasks: list[TaskSpec], away: list[str]) -> tuple[Sequence[str], Sequence[str]]:
    """(what no node has, what does not work just now); a cluster that does not answer is added to ``away``."""
    from pto_slurm_lane.checks import unplaceable
    from pto_slurm_lane.clients import ClientFailed

    try:
        wrong, notices = await unplaceable(tasks, os.environ)
    except ClientFailed as error:
        said = " ".join(str(error).split())
        away.append(f"the cluster cannot be asked ({said}); `orchestrator doctor --slurm` looks closer")
        return (), ()
    more = (f"and {len(wrong) - MAX_SHOWN} more of that kind",) if len(wrong) > MAX_SHOWN else ()
    return (*wrong[:MAX_SHOWN], *more), notices


async def _account(settings: "Settings") -> Sequence[Found]:
    from pto_dispatcher_parallelcluster.checks import Account, check_account

    missing = [name for name in ("cluster", "bucket") if not getattr(settings, f"aws_{name}")]
    if missing:
        where = " and ".join(f"PTO_AWS_{name.upper()}" for name in missing)
        return [("FAIL", "AWS", f"the plan names a ParallelCluster, but not its {' and '.join(missing)}: set {where}")]
    asked = Account(cluster=settings.aws_cluster, bucket=settings.aws_bucket, region=settings.aws_region)
    return await asyncio.to_thread(lambda: list(check_account(asked)))
