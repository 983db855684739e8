"""Whether a cluster can run what is asked for, said before anything is submitted.

Imports proto and siblings; pure. Invariants: one sentence for each thing that no node of the partition has, whatever
number of tasks ask for it; what may pass (a partition that is down) is a warning and no problem.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pto_core.units import slurm_time
from pto_proto.plans import Problem
from pto_slurm.queue import NodeGroup
from pto_slurm.shape import JobShape

SHOWN_TASKS = 3
SHOWN_NAMES = 12
AWAY = ("down", "drain", "fail", "inval", "unk", "no_resp", "maint", "futr")
"""Beginnings of the states of nodes that take no jobs now."""
_SIMPLE = re.compile(r"[A-Za-z0-9_.:-]+\Z", re.ASCII)


class Findings(msgspec.Struct, frozen=True):
    """What cannot work, and what does not work now."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def preflight(shapes: Mapping[str, JobShape], groups: Iterable[NodeGroup]) -> Findings:
    """Hold each task's shape against the node groups of sinfo."""
    groups = tuple(groups)
    tasks: dict[JobShape, list[str]] = {}
    for task, shape in shapes.items():
        tasks.setdefault(shape, []).append(task)
    problems, warnings = dict[tuple[str, str], None](), dict[str, None]()
    for shape, names in tasks.items():
        nodes, partition = _nodes(shape, groups)
        if not nodes:
            problems[_who(names), _no_partition(shape, groups)] = None
            continue
        for what in _lacking(shape, nodes, partition):
            problems[_who(names), what] = None
        for warning in _not_now(nodes, partition):
            warnings[warning] = None
    return Findings(tuple(Problem(where=who, what=what) for who, what in problems), tuple(warnings))


def _nodes(shape: JobShape, groups: tuple[NodeGroup, ...]) -> tuple[list[NodeGroup], str]:
    """The groups that the job may run on, and what to call them."""
    if not shape.partition:
        nodes = [group for group in groups if group.is_default]
        return nodes, f"partition {nodes[0].partition} (the default)" if nodes else ""
    wanted = shape.partition.split(",")
    nodes = [group for group in groups if group.partition in wanted]
    return nodes, f"partition {shape.partition}"


def _no_partition(shape: JobShape, groups: tuple[NodeGroup, ...]) -> str:
    names = sorted({group.partition for group in groups})
    there = ", ".join(names[:SHOWN_NAMES]) or "none"
    if not shape.partition:
        return f"asked no partition, and the cluster has no default one; name one of: {there}"
    return f"asked partition {shape.partition}, which is not there; there are: {there}"


def _lacking(shape: JobShape, nodes: list[NodeGroup], partition: str) -> Iterator[str]:
    cpus, memory = max(node.cpus for node in nodes), max(node.memory_mb for node in nodes)
    gpus = max(node.gpus for node in nodes)
    alone = list[str]()
    if shape.cpus > cpus:
        alone.append(f"asked {shape.cpus} CPUs; {partition} has at most {cpus} per node")
    if shape.memory_mb > memory:
        alone.append(f"asked {shape.memory_mb}M of memory; {partition} has at most {memory}M per node")
    if shape.gpus > gpus:
        has = f"has at most {gpus} per node" if gpus else "has none"
        alone.append(f"asked {shape.gpus} GPU{'s' if shape.gpus > 1 else ''}; {partition} {has}")
    yield from alone
    if not alone and not any(_fits(shape, node) for node in nodes):
        gpu = f", {shape.gpus} GPUs" if shape.gpus else ""
        yield f"asked {shape.cpus} CPUs, {shape.memory_mb}M{gpu} at once; no single node of {partition} has all of it"
    limit = 0 if any(not node.limit_s for node in nodes) else max(node.limit_s for node in nodes)
    if limit and shape.minutes * 60 > limit:
        yield f"asked {slurm_time(shape.minutes * 60)} of time; {partition} allows at most {slurm_time(limit)}"
    if shape.constraint and _SIMPLE.match(shape.constraint):
        features = sorted({feature for node in nodes for feature in node.features})
        if shape.constraint not in features:
            there = ", ".join(features[:SHOWN_NAMES]) or "none"
            yield f"asked constraint {shape.constraint}; no node of {partition} has it (features there: {there})"


def _fits(shape: JobShape, node: NodeGroup) -> bool:
    return shape.cpus <= node.cpus and shape.memory_mb <= node.memory_mb and shape.gpus <= node.gpus


def _not_now(nodes: list[NodeGroup], partition: str) -> Iterator[str]:
    if not any(node.is_up for node in nodes):
        yield f"{partition} is down: jobs wait until it is brought up"
    elif all(node.state.startswith(AWAY) for node in nodes):
        states = ", ".join(sorted({node.state for node in nodes}))
        yield f"no node of {partition} takes jobs now ({states}): jobs wait until one does"


def _who(tasks: list[str]) -> str:
    shown = ", ".join(tasks[:SHOWN_TASKS])
    return shown + (f" and {len(tasks) - SHOWN_TASKS} more tasks" if len(tasks) > SHOWN_TASKS else "")
