"""Whether a cluster can take a run's jobs, asked before anything is submitted: each answer in one sentence.

Imports proto, pto_slurm, pto_slurm_node and siblings. Invariants: only the probe of ``checks`` submits anything, one
small job that is cancelled and whose files are removed, whatever happens; no check hides the next one that can still be
made.
"""

import asyncio
import json
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pto_core.units import slurm_time
from pto_proto.plans import Problem, TaskSpec
from pto_slurm.answers import Refused, Submitted, Throttled
from pto_slurm.package import install
from pto_slurm.preflight import AWAY, Findings, preflight
from pto_slurm.queue import JobRow, NodeGroup
from pto_slurm.shape import JobShape, Site, Unplaceable, shape_of
from pto_slurm.submission import Job, sbatch_argv
from pto_slurm_lane.clients import ClientFailed, SlurmClients
from pto_slurm_node.spool import Spool, private_folder

PROGRAMS = ("sbatch", "squeue", "sinfo", "scancel")
PROBE_S = 60.0
"""How long the probe may wait for its node: an idle cluster takes seconds; a busy one is told from a broken one."""
LOOK_S = 1.0
SHARED_S = 15.0
"""How long another node's file may take to be seen here: network file systems keep folders in mind for seconds."""
LIMITS = ("MaxJobCount", "MaxArraySize", "MinJobAge", "DefMemPerCPU", "DefMemPerNode", "MaxMemPerNode")
OLDEST_PYTHON = (3, 8)
NO_SITE = Site()
Found = tuple[str, str, str]
"""(``ok``, ``note`` or ``FAIL``, what, what was found)."""


class Cluster(NamedTuple):
    """What is asked about."""

    spool: Path
    """On the file system that nodes share."""
    python: str
    """Of the nodes."""
    task: TaskSpec
    """What a task asks for that says nothing itself."""
    site: Site = Site()


async def unplaceable(
    tasks: Sequence[TaskSpec], environment: Mapping[str, str], site: Site = NO_SITE
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what no node has, what does not work just now) of these tasks, as they are handed out. Raises ClientFailed."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=environment.get("PATH")) is None]
    if missing:
        raise ClientFailed(_not_found(missing))
    groups = await SlurmClients(environment).node_groups()
    found = _findings(tasks, site, groups)
    return tuple(map(str, found.problems)), found.warnings


def _findings(tasks: Sequence[TaskSpec], site: Site, groups: tuple[NodeGroup, ...]) -> Findings:
    shapes: dict[str, JobShape] = {}
    problems: list[Problem] = []
    for task in tasks:
        try:
            shapes[task.id] = shape_of(task, site)
        except Unplaceable as error:
            problems += error.problems
    found = preflight(shapes, groups)
    return Findings((*problems, *found.problems), found.warnings)


async def checks(cluster: Cluster, environment: Mapping[str, str]) -> AsyncIterator[Found]:
    """Programs, controller, partitions, limits, shared folder, and a node's Python by a job."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=environment.get("PATH")) is None]
    if missing:
        yield "FAIL", "slurm", _not_found(missing)
        return
    clients = SlurmClients(environment)
    try:
        yield "ok", "slurm", await clients.version()
        groups = await clients.node_groups()
    except ClientFailed as error:
        yield "FAIL", "controller", f"{' '.join(str(error).split())}; ask `scontrol ping`, and check SLURM_CONF"
        return
    yield "ok", "controller", "answers"
    for found in _partitions(groups):
        yield found
    yield await _limits(clients)
    findings = _findings((cluster.task,), cluster.site, groups)
    for problem in findings.problems:
        yield "FAIL", "tasks", problem.what
    for warning in findings.warnings:
        yield "note", "tasks", warning
    if not findings.problems:
        async for found in _probe(clients, cluster):
            yield found


def _not_found(missing: list[str]) -> str:
    return f"{', '.join(missing)}: not on the PATH; run this on a login node, or load the site's module of SLURM"


def _partitions(groups: tuple[NodeGroup, ...]) -> Iterator[Found]:
    if not groups:
        yield "FAIL", "partitions", "the cluster has none that you may see"
    for name in dict.fromkeys(group.partition for group in groups):
        nodes = [group for group in groups if group.partition == name]
        limit = 0 if any(not node.limit_s for node in nodes) else max(node.limit_s for node in nodes)
        gpus = max(node.gpus for node in nodes)
        count = Counter[str]()
        for node in nodes:
            count[node.state] += node.nodes
        states = ", ".join(f"{number} {state}" for state, number in count.items())
        has = f"up to {max(node.cpus for node in nodes)} CPUs and {max(node.memory_mb for node in nodes)}M per node"
        most = f"at most {slurm_time(limit)}" if limit else "no time limit"
        said = f"{states}; {has}{f', {gpus} GPUs' if gpus else ''}; {most}"
        is_up = nodes[0].is_up and not all(node.state.startswith(AWAY) for node in nodes)
        default = " (the default)" if nodes[0].is_default else ""
        yield ("ok" if is_up else "note"), f"partition {name}{default}", said if is_up else f"{said}; takes no jobs now"
    if groups and not any(group.is_default for group in groups):
        yield "note", "partitions", "there is no default one: give --slurm-partition"


async def _limits(clients: SlurmClients) -> Found:
    try:
        settings = await clients.configuration()
    except ClientFailed as error:
        return "note", "limits", f"cannot be asked: {error}"
    said = ", ".join(f"{name} {settings[name]}" for name in LIMITS if name in settings)
    try:
        own = await clients.own_limits()
    except ClientFailed as error:
        own = f"of your account unknown ({error})"
    return "ok", "limits", f"{said}; {own}" if own else said


# --- the probe -------------------------------------------------------------------------------------------------------


async def _probe(clients: SlurmClients, cluster: Cluster) -> AsyncIterator[Found]:
    spool, name = Spool(cluster.spool), f"pto-doctor-{secrets.token_hex(4)}"
    folder = cluster.spool / name
    was_there = cluster.spool.exists()
    try:
        try:
            spool.prepare()
            private_folder(folder)
            script = folder / "probe.sh"
            script.write_text(f"#!/bin/sh\nexec {install(spool).probe(cluster.python)}\n")
        except OSError as error:
            yield "FAIL", "shared folder", f"{cluster.spool} cannot be used: {error.strerror}; set PTO_SLURM_SPOOL"
            return
        async for found in _run_probe(clients, cluster, name, folder, script):
            yield found
    finally:
        shutil.rmtree(folder if was_there else cluster.spool, ignore_errors=True)


async def _run_probe(
    clients: SlurmClients, cluster: Cluster, name: str, folder: Path, script: Path
) -> AsyncIterator[Found]:
    shape = shape_of(cluster.task, cluster.site)
    small = msgspec.structs.replace(shape, cpus=1, memory_mb=min(shape.memory_mb, 256), gpus=0, minutes=1)
    out, err = folder / "out", folder / "err"
    job = Job(
        name=name,
        comment="pto:doctor",
        shape=small,
        script=str(script),
        folder=str(folder),
        stdout=str(out),
        stderr=str(err),
    )
    began = time.monotonic()
    answer = await clients.submit(sbatch_argv(job))
    if not isinstance(answer, Submitted):
        hint = f" {answer.hint}" if isinstance(answer, Refused) else ""
        yield ("note" if isinstance(answer, Throttled) else "FAIL"), "probe job", f"{answer.words}{hint}"
        if not isinstance(answer, Refused) or not answer.is_sure:
            await _cancel_named(clients, name)
        return
    try:
        row = await _end_of(clients, answer.job)
    finally:
        with suppress(ClientFailed):
            await clients.cancel((answer.job,))
    if row is None or row.state == "PENDING":
        reason = f" ({row.reason})" if row is not None and row.reason else ""
        waits = f"job {answer.job} still waited after {PROBE_S:.0f} s{reason} and was cancelled"
        yield "note", "probe job", f"{waits}: nothing is known about the nodes"
        return
    said = await _written(out)
    if said is None:
        for found in _without_word(row, out, err, cluster):
            yield found
        return
    took = time.monotonic() - began
    yield "ok", "shared folder", f"{cluster.spool}: what node {said['node']} wrote is seen here"
    yield "ok", "probe job", f"job {answer.job} ran on {said['node']}, {took:.1f} s after it was submitted"
    version = tuple(int(part) for part in str(said["python"]).split(".")[:2])
    mark = "ok" if version >= OLDEST_PYTHON else "FAIL"
    yield mark, "python of nodes", f"{said['python']} at {said['executable']}"
    yield "ok", "sandbox of nodes", f"{said['sandbox']}: {said['sandbox_meaning']}"


async def _end_of(clients: SlurmClients, job: str) -> JobRow | None:
    """How it ended, or stands after ``PROBE_S``; None: nobody knows it any more."""
    deadline = time.monotonic() + PROBE_S
    row: JobRow | None = None
    while time.monotonic() < deadline:
        await asyncio.sleep(LOOK_S)
        with suppress(ClientFailed):
            row = next((known for known in await clients.jobs() if known.job == job), None)
            if row is None or row.state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
                return row
    return row


async def _written(out: Path) -> dict[str, Any] | None:
    """What the probe printed; None if that is not seen here in time."""
    deadline = time.monotonic() + SHARED_S
    while True:
        with suppress(OSError, ValueError):
            os.listdir(out.parent)  # refreshes what a network file system remembers  # noqa: PTH208
            found = json.loads(out.read_text())
            if isinstance(found, dict):
                return found
        if time.monotonic() > deadline:
            return None
        await asyncio.sleep(LOOK_S)


def _without_word(row: JobRow, out: Path, err: Path, cluster: Cluster) -> Iterator[Found]:
    where = f"job {row.job} on {row.nodes or 'no node'} ended as {row.state}"
    if not out.exists() and not err.exists():
        fix = "set PTO_SLURM_SPOOL to a folder that the nodes mount at the same path"
        yield "FAIL", "shared folder", f"{where}, and nothing that it wrote into {cluster.spool} is seen here: {fix}"
        return
    words = " ".join(err.read_text(errors="replace").split())[-300:] if err.exists() else ""
    fix = "set PTO_SLURM_PYTHON to a Python of the nodes, 3.8 or newer"
    yield "FAIL", "python of nodes", f"{where}: {words or 'it printed nothing'}; {fix}"


async def _cancel_named(clients: SlurmClients, name: str) -> None:
    """An answer that says nothing may hide a job."""
    with suppress(ClientFailed):
        jobs = [row.job for row in await clients.jobs() if row.name == name]
        if jobs:
            await clients.cancel(jobs)
