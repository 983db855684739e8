"""Whether a plan, or a request for a run, can be taken: all that is wrong with it, at once and each with its place.

Imports pto_proto and siblings only. Invariants: nothing is raised and nothing is guessed; a plan without problems can
be folded (``build_graph`` takes it) and every entry about it fits one event. Counting comes before expanding, so that a
small text cannot cost much memory.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pto_core.graph import PlanCycle, build_graph
from pto_core.limits import (
    MAX_DEPENDENCIES,
    MAX_EXECUTORS,
    MAX_PROBLEMS,
    MAX_REQUIREMENT_BYTES,
    MAX_RETRIES,
    MAX_TASK_BYTES,
    MAX_TASK_DEPENDENCIES,
    MAX_TASKS,
)
from pto_core.matrix import Expansion, count_of, expand
from pto_core.money import bad_limit
from pto_core.task_check import (
    bad_backend,
    bad_slurm_word,
    check_commands,
    check_globs,
    check_line,
    check_matrix,
    check_resources,
    check_slurm,
    check_task,
    check_text,
    suggest,
)
from pto_proto.ids import LANE_DOCKER, TaskId, is_digest, is_run_id
from pto_proto.plans import Plan, Problem, TaskSpec
from pto_proto.requests import PlanApproved, RunRequested

ENGINES = ("simulated", "api", "claude-code")
"""Engines that this version has."""
MAX_CYCLES = 10
"""Circles named in one answer; each costs a walk over the plan."""
MAX_SUGGESTIONS_WORK = 200_000
"""Words compared to find the nearest task id, over all problems of a plan: about a second."""
MAX_CIRCLE_SHOWN = 12
"""Task ids shown of one circle; a longer one is shortened in the middle."""
MAX_TRACEPARENT_CHARS = 128
"""A W3C trace context has 55 characters today; later versions may have more."""
MAX_IMAGE_CHARS = 255
"""Of the name of an image; registries take no longer ones."""
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"  # registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"  # tag, digest
)
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")


class CheckedPlan(NamedTuple):
    """What ``check_plan`` found: the plan with its matrices written out, to be used only without problems."""

    plan: Plan
    problems: tuple[Problem, ...]


def count_tasks(plan: Plan) -> int:
    """Tasks of the plan after expansion, without expanding it."""
    return sum(count_of(spec) for spec in plan.tasks)


def check_plan(plan: Plan) -> CheckedPlan:
    """The expanded plan and everything that is wrong with it, in the order of the tasks as they were written."""
    problems = _Problems()
    problems.extend(_check_plan_wide(plan))
    sound = []
    for at, spec in enumerate(plan.tasks):
        broken = problems.extend(check_matrix(spec, f"tasks[{at}]")) if spec.matrix else 0
        if broken:
            problems.silence(at)
            spec = msgspec.structs.replace(spec, matrix={})
        sound.append(_without_self(spec, at, problems))
    count = sum(count_of(spec) for spec in sound)
    if not count:
        problems.add(Problem(where="tasks", what="is empty; a plan needs at least one task"))
    problems.extend(_check_ids(plan.tasks))
    if count > MAX_TASKS:
        problems.add(Problem(where="tasks", what=f"there are {count} tasks; a plan has at most {MAX_TASKS}"))
    elif (dependencies := _count_dependencies(sound)) > MAX_DEPENDENCIES:
        what = f"the tasks have {dependencies} dependencies in all, at most {MAX_DEPENDENCIES} are possible"
        problems.add(Problem(where="tasks", what=f"{what}; put a noop task between large groups"))
    else:
        expansion = expand(sound)
        problems.extend_tasks(expansion)
        problems.extend(_check_dependencies(sound, expansion))
        plan = msgspec.structs.replace(plan, tasks=expansion.tasks)
    return CheckedPlan(plan, problems.all())


def check_request(request: RunRequested) -> list[Problem]:
    """Everything for which the scheduler must refuse this request, whoever sent it."""
    problems = _Problems()
    problems.extend(_check_settings(request))
    problems.extend(_check_source(request))
    if request.plan is not None:
        problems.extend(
            msgspec.structs.replace(problem, where=f"plan.{problem.where}")
            for problem in check_plan(request.plan).problems
        )
    return list(problems.all())


def check_approval(request: PlanApproved, plan: Plan | None) -> tuple[Plan | None, list[Problem]]:
    """The edited plan of an approval with its matrices written out, and all that is wrong with it; ``plan`` is the one
    that was found inside or behind the digest.
    """
    if request.plan is not None and request.edited_digest:
        return None, [Problem(where="plan", what="and edited_digest are given; give one of them")]
    if request.edited_digest and not is_digest(request.edited_digest):
        shown = repr(request.edited_digest[:80])
        return None, [Problem(where="edited_digest", what=f"{shown} is not a SHA-256 in lower-case hex")]
    if plan is None:
        return None, []
    checked, problems = check_plan(plan)
    return checked, [msgspec.structs.replace(problem, where=f"plan.{problem.where}") for problem in problems]


class _Problems:
    """Collects problems, each once, and counts those that are too many to name."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._silent: set[int] = set()
        self._more = 0

    def add(self, problem: Problem) -> None:
        if problem in self._found:
            return
        if len(self._found) < MAX_PROBLEMS:
            self._found[problem] = None
        else:
            self._more += 1

    def extend(self, problems: Iterable[Problem]) -> int:
        count = 0
        for problem in problems:
            self.add(problem)
            count += 1
        return count

    def silence(self, source: int) -> None:
        """This task's matrix is broken: that its parameters are not filled in is no further news."""
        self._silent.add(source)

    def extend_tasks(self, expansion: Expansion) -> None:
        """Check each task; what is wrong at one place of a task with a matrix is said for its first expansion only."""
        said: set[str] = set()
        last = -1
        for spec, source in zip(expansion.tasks, expansion.sources, strict=True):
            if source != last:
                said = set()
                last = source
            for problem in check_task(spec, f"tasks[{source}]"):
                unfilled = source in self._silent and "${matrix." in problem.what
                if not unfilled and problem.where not in said:
                    self.add(problem)
                    said.add(problem.where)

    def all(self) -> tuple[Problem, ...]:
        more = [Problem(where="", what=f"and {self._more} more problems")] if self._more else []
        return (*self._found, *more)


def _check_plan_wide(plan: Plan) -> Iterator[Problem]:
    if plan.name:
        yield from check_line(plan.name, "name")
    yield from check_globs(plan.inputs, "inputs")
    yield from check_text(plan.inputs, "inputs")
    yield from check_commands(plan.checks, "checks")
    yield from check_text(plan.checks, "checks")
    if sum(map(len, plan.inputs)) + sum(map(len, plan.checks)) > MAX_TASK_BYTES:
        yield Problem(where="", what=f"the plan's own inputs and checks are longer than {MAX_TASK_BYTES} bytes in all")


def _check_ids(tasks: Sequence[TaskSpec]) -> Iterator[Problem]:
    first: dict[TaskId, int] = {}
    for at, spec in enumerate(tasks):
        before = first.setdefault(spec.id, at)
        if before != at and spec.id:
            what = f"{spec.id[:80]!r} is already the id of tasks[{before}]; give each task its own"
            yield Problem(where=f"tasks[{at}].id", what=what)


def _count_dependencies(tasks: Sequence[TaskSpec]) -> int:
    sizes = {spec.id: count_of(spec) for spec in tasks if spec.matrix}
    if not sizes:
        return sum(len(spec.depends_on) for spec in tasks)
    return sum(count_of(spec) * sum(sizes.get(name, 1) for name in spec.depends_on) for spec in tasks)


def _check_dependencies(written: Sequence[TaskSpec], expansion: Expansion) -> Iterator[Problem]:
    """Unknown names, tasks that wait for themselves, circles; one problem for each place in the tasks as written."""
    known = {spec.id for spec in expansion.tasks}
    candidates = [*known, *(spec.id for spec in written if spec.matrix)]
    work = 0
    said: set[str] = set()
    kept: dict[TaskId, TaskSpec] = {}
    sources: dict[TaskId, int] = {}
    for spec, source in zip(expansion.tasks, expansion.sources, strict=True):
        if len(spec.depends_on) > MAX_TASK_DEPENDENCIES and f"tasks[{source}]" not in said:
            said.add(f"tasks[{source}]")
            what = f"has {len(spec.depends_on)} dependencies, at most {MAX_TASK_DEPENDENCIES} are possible"
            yield Problem(where=f"tasks[{source}].depends_on", what=f"{what}; put noop tasks between groups of them")
        wrong = [name for name in spec.depends_on if name not in known or name == spec.id]
        sound = tuple(name for name in spec.depends_on if name not in wrong) if wrong else spec.depends_on
        kept.setdefault(spec.id, msgspec.structs.replace(spec, depends_on=sound) if wrong else spec)
        sources.setdefault(spec.id, source)
        for name in wrong:
            where = f"tasks[{source}].depends_on[{_position(written[source].depends_on, name)}]"
            if where in said:
                continue
            said.add(where)
            work += len(candidates)
            hint = suggest(name, candidates) if work <= MAX_SUGGESTIONS_WORK else ""
            is_self = name == spec.id
            what = f"task {name!r} waits for itself" if is_self else f"there is no task {name[:80]!r}{hint}"
            yield Problem(where=where, what=what)
    yield from _check_circles(kept, sources)


def _position(depends_on: Sequence[str], name: str) -> int:
    """Where the written list names this task: as it is, or through a parameter."""
    for position, written in enumerate(depends_on):
        if written == name:
            return position
    return next((position for position, written in enumerate(depends_on) if "${matrix." in written), 0)


def _without_self(spec: TaskSpec, at: int, problems: _Problems) -> TaskSpec:
    """A task that names itself would, with a matrix, make a circle of all its expansions; it is said once."""
    if spec.id not in spec.depends_on:
        return spec
    where = f"tasks[{at}].depends_on[{spec.depends_on.index(spec.id)}]"
    problems.add(Problem(where=where, what=f"task {spec.id!r} waits for itself"))
    return msgspec.structs.replace(spec, depends_on=tuple(name for name in spec.depends_on if name != spec.id))


def _check_circles(tasks: dict[TaskId, TaskSpec], sources: dict[TaskId, int]) -> Iterator[Problem]:
    for _ in range(MAX_CYCLES):
        try:
            build_graph(tuple(tasks.values()))
        except PlanCycle as cycle:
            first = min(cycle.tasks, key=lambda name: sources[name])
            at = cycle.tasks.index(first)
            circle = [*cycle.tasks[at:], *cycle.tasks[:at]]
            yield Problem(where=f"tasks[{sources[first]}].depends_on", what=_circle_text(circle))
            spec = tasks[first]
            in_circle = {sources[name] for name in cycle.tasks}
            cut = tuple(name for name in spec.depends_on if sources[name] not in in_circle)
            tasks[first] = msgspec.structs.replace(spec, depends_on=cut)
        else:
            return


def _circle_text(circle: Sequence[TaskId]) -> str:
    shown = list(circle) if len(circle) <= MAX_CIRCLE_SHOWN else [*circle[: MAX_CIRCLE_SHOWN - 1], "...", circle[-1]]
    return f"tasks depend on each other in a circle: {' -> '.join([*shown, circle[0]])}"


def _check_settings(request: RunRequested) -> Iterator[Problem]:
    if not is_run_id(request.run):
        what = f"{request.run[:80]!r} is not a run id; use 6-40 of a-z, 0-9 and '-', starting with a letter or digit"
        yield Problem(where="run", what=what)
    yield from check_line(request.name, "name")
    if not 1 <= request.max_executors <= MAX_EXECUTORS:
        yield Problem(where="max_executors", what=f"must be 1 to {MAX_EXECUTORS}, not {request.max_executors}")
    if not 0 <= request.max_retries <= MAX_RETRIES:
        yield Problem(where="max_retries", what=f"must be 0 to {MAX_RETRIES}, not {request.max_retries}")
    yield from _check_placing(request)
    yield from _check_engine(request)
    if request.resumes and (not is_run_id(request.resumes) or request.resumes == request.run):
        yield Problem(where="resumes", what=f"{request.resumes[:80]!r} is not the id of an earlier run")
    for field in ("plan_digest", "inputs_digest", "reuse_digest"):
        digest = getattr(request, field)
        if digest and not is_digest(digest):
            yield Problem(where=field, what=f"{digest[:80]!r} is not a SHA-256 in lower-case hex")
    if len(request.traceparent) > MAX_TRACEPARENT_CHARS or not request.traceparent.isprintable():
        yield Problem(where="traceparent", what="is not a W3C trace context")


def _check_placing(request: RunRequested) -> Iterator[Problem]:
    if what := bad_backend(request.backend):
        yield Problem(where="backend", what=what)
    if request.planner_backend not in ("", LANE_DOCKER):
        what = f"{request.planner_backend[:80]!r} cannot plan; write {LANE_DOCKER}, or leave it out"
        yield Problem(where="planner_backend", what=what)
    yield from check_resources(request.resources, "resources")
    yield from check_slurm(request.slurm, "slurm")
    if what := bad_slurm_word(request.gpu_partition):
        yield Problem(where="gpu_partition", what=what)
    if what := bad_image(request.docker.image):
        yield Problem(where="docker.image", what=what)
    if what := bad_network(request.docker.network):
        yield Problem(where="docker.network", what=what)


def bad_image(image: str) -> str:
    """Why this cannot be the name of an image; empty if it can, or if there is none."""
    if not image or (len(image) <= MAX_IMAGE_CHARS and _IMAGE.match(image)):
        return ""
    return f"{image[:80]!r} names no image; write for example python:3.12-slim or registry.example.org/team/tools:1"


def bad_network(network: str) -> str:
    """Why this cannot be the name of a network; empty if it can, or if there is none."""
    if not network or _NETWORK.match(network):
        return ""
    return f"{network[:80]!r} names no network; use letters, digits, '-', '_' and '.', such as none or build-net"


def _check_engine(request: RunRequested) -> Iterator[Problem]:
    if request.engine not in ENGINES:
        what = f"there is no engine {request.engine!r}; this version has {', '.join(ENGINES)}"
        yield Problem(where="engine", what=what)
    yield from check_line(request.model, "model")
    if request.max_cost_usd is not None and (what := bad_limit(request.max_cost_usd)):
        yield Problem(where="max_cost_usd", what=what)


def _check_source(request: RunRequested) -> Iterator[Problem]:
    """The work comes from exactly one of requirement, plan and plan_digest; a resumed run brings its plan along."""
    sources = {"requirement": request.requirement, "plan": request.plan, "plan_digest": request.plan_digest}
    if request.resumes and (request.plan is not None or request.plan_digest):
        del sources["requirement"]
    given = [name for name, value in sources.items() if value]
    if not given:
        yield Problem(where="requirement", what="is empty; say what is to be built, or give a plan")
    elif len(given) > 1:
        yield Problem(where=given[0], what=f"and {' and '.join(given[1:])} are given; give exactly one of them")
    if request.requirement:
        size = len(request.requirement.encode(errors="replace"))
        if not request.requirement.strip():
            yield Problem(where="requirement", what="is blank; say what is to be built")
        if size > MAX_REQUIREMENT_BYTES:
            what = f"is {size} bytes long; at most {MAX_REQUIREMENT_BYTES} are possible"
            yield Problem(where="requirement", what=what)
        if "\0" in request.requirement:
            yield Problem(where="requirement", what="holds a NUL character")
