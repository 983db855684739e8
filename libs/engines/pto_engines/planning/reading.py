"""Reads a model's answer as a plan, and says all that is wrong with it.

Imports core and proto. Invariants: a plan without problems passes ``check_plan``, and of two tasks that may run at
the same time no one can write what the other can.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import product

import msgspec

from pto_core.plan_check import check_plan
from pto_core.scopes import globs_overlap
from pto_engines.planning.limits import MAX_MINUTES, MAX_PLAN_CHARS, MAX_TASKS
from pto_proto.ids import TaskId
from pto_proto.plans import Plan, Problem, TaskSpec


class PlannedTask(msgspec.Struct, frozen=True, kw_only=True):
    """One task in the form that the model is asked for."""

    id: str
    title: str
    instructions: str
    writes: list[str]
    outputs: list[str]
    depends_on: list[str] = []
    interfaces: str = ""
    checks: list[str] = []
    estimate_minutes: float = 0.0


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the model is asked for: ``plan_schema.json``."""

    complexity: int
    tasks: list[PlannedTask]
    rationale: str = ""
    name: str = ""
    checks: list[str] = []


class ReadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer holds: to be used only without problems."""

    plan: Plan | None = None
    complexity: int = 0
    rationale: str = ""
    problems: tuple[Problem, ...] = ()


def read_answer(text: str) -> ReadPlan:
    """The plan in an answer, with everything that is wrong with it."""
    if len(text) > MAX_PLAN_CHARS:
        return _refused("", f"the answer has {len(text)} characters; a plan has at most {MAX_PLAN_CHARS}")
    try:
        answer = msgspec.json.decode(_without_fence(text).encode(errors="replace"), type=PlanAnswer)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        return _refused(place.rstrip("`").lstrip("."), what)
    except msgspec.DecodeError as error:
        return _refused("", f"the answer is not valid JSON: {error}")
    if len(answer.tasks) > MAX_TASKS:
        return _refused("tasks", f"there are {len(answer.tasks)} tasks; plan at most {MAX_TASKS}")
    plan = plan_of(answer)
    problems = [*check_plan(plan).problems, *_own_rules(answer)]
    if not problems:
        problems += _rivalries(plan)
    return ReadPlan(
        plan=plan,
        complexity=answer.complexity,
        rationale=answer.rationale.strip(),
        problems=tuple(dict.fromkeys(problems)),
    )


def plan_of(answer: PlanAnswer) -> Plan:
    """The answer as a plan, checked or not."""
    provided = {task.id: task.interfaces.strip() for task in answer.tasks}
    tasks = tuple(
        TaskSpec(
            id=TaskId(task.id),
            title=_line(task.title),
            agent=_instructions(task, provided),
            depends_on=tuple(TaskId(name) for name in dict.fromkeys(task.depends_on)),
            writes=tuple(dict.fromkeys(task.writes)),
            outputs=tuple(dict.fromkeys(task.outputs)),
            checks=tuple(task.checks),
            estimate_s=round(task.estimate_minutes * 60.0, 1) if 0 < task.estimate_minutes <= MAX_MINUTES else None,
        )
        for task in answer.tasks
    )
    return Plan(name=_line(answer.name), tasks=tasks, checks=tuple(answer.checks))


def _instructions(task: PlannedTask, provided: dict[str, str]) -> str:
    """What to do, what others expect of it, and what it can expect of others."""
    parts = [task.instructions.strip()]
    if task.interfaces.strip():
        parts.append(f"Other tasks rely on this, to the letter:\n{task.interfaces.strip()}")
    given = [f"- {name}: {provided[name]}" for name in dict.fromkeys(task.depends_on) if provided.get(name)]
    if given:
        parts.append("The tasks before this one provide:\n" + "\n".join(given))
    return "\n\n".join(part for part in parts if part)


def _own_rules(answer: PlanAnswer) -> Iterator[Problem]:
    if not 0 <= answer.complexity <= 100:
        yield Problem(where="complexity", what=f"must be 0 to 100, not {answer.complexity}")
    for at, task in enumerate(answer.tasks):
        if not task.instructions.strip():
            yield Problem(where=f"tasks[{at}].instructions", what="is blank; say what the agent has to do")
        if not task.writes:
            yield Problem(where=f"tasks[{at}].writes", what="is empty; name the paths that the task may write")
        if not task.outputs:
            yield Problem(
                where=f"tasks[{at}].outputs", what="is empty; name at least one file that must exist afterwards"
            )
        for position, glob in enumerate(task.outputs):
            if task.writes and not _meeting((glob,), task.writes):
                what = f"{glob!r} is outside of what the task may write ({', '.join(task.writes)})"
                yield Problem(where=f"tasks[{at}].outputs[{position}]", what=what)


def _rivalries(plan: Plan) -> Iterator[Problem]:
    """Pairs that may run at once and could write the same path. The plan's graph is sound here."""
    before = _ancestors(plan)
    for at, spec in enumerate(plan.tasks):
        for other in plan.tasks[:at]:
            if other.id in before[spec.id] or spec.id in before[other.id]:
                continue
            pair = _meeting(other.writes, spec.writes)
            if pair is not None:
                what = (
                    f"{pair[1]!r} and {pair[0]!r} of task {other.id!r} can be the same path, and both tasks may run "
                    f"at the same time; let one depend on the other, or narrow what they write"
                )
                yield Problem(where=f"tasks[{at}].writes", what=what)


def _meeting(some: Sequence[str], others: Sequence[str]) -> tuple[str, str] | None:
    """The first pair of globs that can match the same path."""
    return next(((a, b) for a, b in product(some, others) if globs_overlap(a, b)), None)


def _ancestors(plan: Plan) -> dict[TaskId, set[TaskId]]:
    known: dict[TaskId, set[TaskId]] = {}
    specs = {spec.id: spec for spec in plan.tasks}
    stack = list(specs)
    while stack:
        name = stack[-1]
        missing = [need for need in specs[name].depends_on if need not in known]
        if missing and name not in known:
            stack += missing
            continue
        stack.pop()
        known[name] = {need for direct in specs[name].depends_on for need in (direct, *known[direct])}
    return known


def _without_fence(text: str) -> str:
    """Some models wrap JSON in a code block, whatever they are told."""
    found = re.match(r"\s*```(?:json)?\s*\n(.*)\n```\s*\Z", text, re.DOTALL)
    return found[1] if found else text


def _line(text: str) -> str:
    return " ".join(text.split())


def _refused(where: str, what: str) -> ReadPlan:
    return ReadPlan(problems=(Problem(where=where, what=what),))
