"""What of earlier runs a new run takes over, and what keeps it from taking over the rest.

Imports pto_proto and siblings only. Invariants: it depends on the plan's content and the index, not on the order of the
tasks; a task is taken over only if all that it depends on is, so that what it would see is known; without ``resumes``
only what declares all that it reads crosses from one run to another.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pto_core.keys import OUTPUT_OF, key_of, key_parts
from pto_core.state import Run, State, Task
from pto_core.transitions import DONE_STATES, TaskState
from pto_proto.events import TaskReused
from pto_proto.ids import Digest, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.reuse import Reusable

SHOWN_DIGEST = 16
"""Characters of a part's digest that travel: enough to tell a difference, and lists stay small."""
MAX_EXPLAINED = 10_000
"""Successes listed with their parts; longer lists go without, because only people read those."""


class Index(NamedTuple):
    """Earlier successes by key."""

    resumed: Mapping[Digest, Reusable]
    """Those of the run that is resumed: of any kind."""
    others: Mapping[Digest, Reusable]
    """Those of any run; only what may cross runs is taken from here."""

    def find(self, key: Digest, spec: TaskSpec, plan_inputs: Sequence[str]) -> Reusable | None:
        """The success with this key that the task may take over."""
        found = self.resumed.get(key)
        return self.others.get(key) if found is None and may_cross(spec, plan_inputs) else found

    def without(self, keys: Collection[Digest]) -> "Index":
        """The same without these keys."""
        return Index(*({key: known for key, known in part.items() if key not in keys} for part in self))


def wants_reuse(run: Run) -> bool:
    """Whether the run asked for anything to be taken over."""
    request = run.request
    return bool(request.resumes or request.reuse or request.reuse_digest)


def may_cross(spec: TaskSpec, plan_inputs: Sequence[str]) -> bool:
    """Whether another run may take the task's outputs over, because its key says all that they depend on.

    A command may read anything on its host; one with declared inputs promises not to. What is passed through from the
    environment is not known here. A noop does nothing, so nothing else can matter.
    """
    return not spec.env and (spec.noop or bool(spec.agent or spec.inputs or plan_inputs))


def left_behind(run: Run, *, only_crossing: bool = False) -> list[Reusable]:
    """The run's verified successes in plan order; ``only_crossing``: those that any other run may take over."""
    plan_inputs = run.plan.inputs if run.plan is not None else ()
    done = [task for task in run.tasks if task.state in DONE_STATES and task.key]
    if only_crossing:
        done = [task for task in done if may_cross(task.spec, plan_inputs)]
    if len(done) > MAX_EXPLAINED:
        return [_left_by(run, task) for task in done]
    return [
        msgspec.structs.replace(_left_by(run, task), parts=shown_parts(parts_of(run, task.spec.id))) for task in done
    ]


def index_of(state: State, run: Run, listed: Iterable[Reusable] = ()) -> Index:
    """Where the run may look: in the run that it resumes, in all runs of this log, and in the list that it named."""
    request = run.request
    resumed: dict[Digest, Reusable] = {}
    others: dict[Digest, Reusable] = {}
    source = state.runs.get(RunId(request.resumes)) if request.resumes else None
    if source is not None:
        resumed |= {known.key: known for task in source.tasks if (known := _still_left_by(source, task)) is not None}
    for known in listed:
        (resumed if request.resumes else others).setdefault(known.key, known)
    if request.reuse:
        for other in reversed(list(state.runs.values())):
            for task in other.tasks:
                # What another run took over itself is left out: a list that somebody sent is good for that run only.
                known_there = _still_left_by(other, task) if task.state is TaskState.SUCCEEDED else None
                if known_there is not None:
                    others.setdefault(known_there.key, known_there)
    return Index(resumed, others)


def reused_tasks(run: Run, index: Index, now: int) -> list[TaskReused]:
    """What is still to be written down of what the run's complete plan takes over, each task behind those it needs."""
    plan = run.plans.get(run.plan.plan_digest) if run.plan is not None else None
    if run.plan is None or plan is None or run.settled:
        return []
    specs = plan.tasks()
    seen = plan.seen_inputs()
    trees: dict[TaskId, Digest] = {}
    found = []
    for at in _dependencies_first(specs):
        spec = specs[at]
        known = run.reused.get(spec.id)
        if known is not None and known.plan_digest == run.plan.plan_digest:
            trees[spec.id] = known.tree
        elif all(name in trees for name in spec.depends_on):
            key = key_of(key_parts(run, spec, {name: trees[name] for name in spec.depends_on}, seen[at]))
            earlier = index.find(key, spec, run.plan.inputs)
            if earlier is not None:
                trees[spec.id] = earlier.tree
                found.append(_take(run.plan.plan_digest, spec, earlier, now))
    return found


def parts_of(run: Run, name: TaskId) -> dict[str, Digest]:
    """The parts of the task's key as far as they are known: outputs of dependencies that are not done are missing."""
    task = run.tasks[run.index[name]]
    before = (run.tasks[run.index[other]] for other in task.spec.depends_on)
    outputs = {other.spec.id: other.tree for other in before if other.state in DONE_STATES}
    return key_parts(run, task.spec, outputs, task.inputs, task.round)


def shown_parts(parts: Mapping[str, str]) -> dict[str, str]:
    """The parts as they travel in a ``Reusable``."""
    return {name: digest[:SHOWN_DIGEST] for name, digest in parts.items()}


def most_similar(parts: Mapping[str, str], earlier: Iterable[Reusable]) -> Reusable | None:
    """The success that has most in common with these parts; of several the first."""
    shown = shown_parts(parts).items()
    return max(earlier, key=lambda known: len(shown & known.parts.items()), default=None)


def differences(parts: Mapping[str, str], earlier: Reusable) -> list[str]:
    """What changed since, one clause for each part, such as ``its command changed``; none for the same key."""
    shown = shown_parts(parts)
    changed = [
        name for name in sorted(shown.keys() | earlier.parts.keys()) if shown.get(name) != earlier.parts.get(name)
    ]
    return [_clause(name, name in shown, name in earlier.parts) for name in changed]


_CLAUSES = {
    "agent": "its instructions changed",
    "backend": "the backend changed",
    "command": "its command changed",
    "conflict rule": "the rule for conflicts between its dependencies changed",
    "engine": "the engine changed",
    "environment names": "the names of its environment variables changed",
    "evidence": "it runs again because the merged project was red",
    "harness version": "the version of the harness changed",
    "id": "its id changed",
    "image": "the image of its container changed",
    "input files": "input files changed",
    "model": "the model changed",
    "outputs": "its declared outputs changed",
    "prompts": "what agents are told changed",
    "resources": "the number of its CPUs or GPUs changed",
    "requirement": "the requirement changed",
    "writes": "what it may write changed",
}


def _clause(name: str, is_now: bool, was_then: bool) -> str:
    if not name.startswith(OUTPUT_OF):
        return _CLAUSES.get(name, f"its {name} changed")
    dependency = name.removeprefix(OUTPUT_OF)
    if not was_then:
        return f"it depends on `{dependency}` now"
    return f"the output of `{dependency}` changed" if is_now else f"it does not depend on `{dependency}` any more"


def _still_left_by(run: Run, task: Task) -> Reusable | None:
    """The task's success; None without one. Whoever reads beside the fold never gets half of one that is revoked."""
    known = _left_by(run, task)
    return known if known.key and known.key == task.key and task.state in DONE_STATES else None


def _left_by(run: Run, task: Task) -> Reusable:
    """Names the run in which the task really succeeded."""
    entry = run.reused.get(task.spec.id) if task.state is TaskState.REUSED else None
    source, name = (run.id, task.spec.id) if entry is None else (entry.source_run, entry.source_task)
    return Reusable(key=task.key, manifest=task.manifest, tree=task.tree, run=source, task=name)


def _take(plan_digest: Digest, spec: TaskSpec, earlier: Reusable, now: int) -> TaskReused:
    return TaskReused(
        at=now,
        plan_digest=plan_digest,
        task=spec.id,
        key=earlier.key,
        manifest=earlier.manifest,
        tree=earlier.tree,
        source_run=earlier.run,
        source_task=earlier.task,
    )


def _dependencies_first(specs: Sequence[TaskSpec]) -> Iterable[int]:
    """Positions, each behind all that it depends on; what waits in a circle is left out."""
    children: dict[TaskId, list[int]] = {}
    waiting = []
    for at, spec in enumerate(specs):
        before = set(spec.depends_on)
        waiting.append(len(before))
        for name in before:
            children.setdefault(name, []).append(at)
    ready = deque(at for at, count in enumerate(waiting) if not count)
    while ready:
        at = ready.popleft()
        yield at
        for child in children.get(specs[at].id, ()):
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
