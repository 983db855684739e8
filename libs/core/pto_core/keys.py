"""The content key of a task: a digest over everything that its result depends on, part by part and each with a name.

Imports pto_proto and siblings only. Invariant: two tasks with the same key see the same files and do the same; what
only says when, how often or how long (retries, estimates, limits of time and memory) is no part of it.
"""

import hashlib
from collections.abc import Hashable, Mapping
from functools import lru_cache

import msgspec

from pto_core.lanes import containers, lane_named, placed_resources
from pto_core.state import Run, Task
from pto_proto.ids import NO_DIGEST, Digest, TaskId
from pto_proto.plans import TaskSpec

KEY_VERSION = "2"
"""Changes when the harness or the rules behind a result change."""
PROMPTS: Mapping[str, str] = {
    "api": "805e5a2bd9583d23fe6c2b6626c12cb6877f7204c9bd6df8d0e54da39ca77aeb",
    "claude-code": "d2f092be600973ceccbd6de10f3d927e06130f8a8b2c8d898c6796589cac9da1",
}
"""Engine -> digest of the texts that its agents are asked with; a test compares them with the texts."""
OUTPUT_OF = "output of "
"""Begins the names of the parts that stand for what a dependency made."""
MAX_CACHED = 4_096
"""Values whose digest is remembered: the tasks of one run have most of them in common."""

_encoder = msgspec.json.Encoder(order="sorted")


def task_key(run: Run, task: Task) -> Digest:
    """The key of a task whose dependencies are done."""
    outputs = {name: run.tasks[run.index[name]].tree for name in task.spec.depends_on} if task.index >= 0 else {}
    return key_of(key_parts(run, task.spec, outputs, task.inputs, task.round))


def key_of(parts: Mapping[str, Digest]) -> Digest:
    """The key that these parts make."""
    return Digest(hashlib.sha256(_encoder.encode(parts)).hexdigest())


def key_parts(
    run: Run, spec: TaskSpec, outputs: Mapping[TaskId, Digest], inputs: Digest, round_: int = 0
) -> dict[str, Digest]:
    """What the result depends on, by name: ``outputs`` are the dependencies' trees, ``inputs`` the files it sees."""
    request = run.request
    placed = placed_resources(request, spec)
    resources = (placed.cpus, placed.gpus)
    lane = lane_named(spec.backend or request.backend)
    image = containers(request, lane).image
    agent = (
        (spec.agent, spec.title, spec.writes, request.engine, request.model, request.requirement) if spec.agent else ()
    )
    parts = dict(_common(lane, image, spec.command, spec.outputs, spec.checks, spec.env, resources, round_, agent))
    parts["id"] = _digest(spec.id)
    if len(outputs) > 1 and len({tree for tree in outputs.values() if tree}) > 1:
        # Where they disagree, the rule decides what the task sees, and the last one may win.
        rule = (request.on_conflict, spec.depends_on if request.on_conflict == "latest" else ())
        parts["conflict rule"] = _digest(rule)
    for name, tree in outputs.items():
        parts[f"{OUTPUT_OF}{name}"] = tree
    if inputs != NO_DIGEST:
        parts["input files"] = inputs
    return parts


@lru_cache(MAX_CACHED)
def _common(
    backend: str,
    image: str,
    command: str | tuple[str, ...],
    outputs: tuple[str, ...],
    checks: tuple[str, ...],
    env: tuple[str, ...],
    resources: tuple[int, int],
    round_: int,
    agent: tuple[Hashable, ...],
) -> Mapping[str, Digest]:
    """The parts that many tasks of a run share, which leaves out what is empty."""
    found: dict[str, Hashable] = {
        "harness version": KEY_VERSION,
        "backend": backend,
        "image": image,
        "command": command,
        "outputs": outputs,
        "checks": checks,
        "environment names": tuple(sorted(env)),
        "resources": resources,
        "evidence": round_,
    }
    if agent:
        found |= dict(zip(("agent", "title", "writes", "engine", "model", "requirement"), agent, strict=True))
        found["prompts"] = PROMPTS.get(str(agent[3]), "")
    return {name: _digest(value) for name, value in found.items() if value not in ("", (), 0, (0, 0))}


@lru_cache(MAX_CACHED)
def _digest(value: Hashable) -> Digest:
    return Digest(hashlib.sha256(_encoder.encode(value)).hexdigest())
