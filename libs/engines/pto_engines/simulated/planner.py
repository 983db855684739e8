"""The planning half of the simulated engine.

It imports the standard library, pto_proto and pto_ports; the catalogue when the first plan is asked for, because most
runs bring their own. Invariant: N depends on the requirement alone, never on the
budget of executors; how many run at a time is the scheduler's business.
"""

from typing import TYPE_CHECKING

from pto_ports.engine import Cancel, PlanDraft
from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

if TYPE_CHECKING:
    from pto_engines.simulated.blueprint import Blueprint, Task

SECONDS_PER_FILE = 0.2
RUN_TESTS = "PYTHONPATH=src:tests python3 -B -m unittest -q "
ALL_TESTS = "PYTHONPATH=src python3 -B -m unittest discover -q -s tests"
DOCS_THERE = "grep -q SIMULATED README.md && grep -q SIMULATED docs/reference.md"


class SimulatedPlanner:
    """A PlanEngine that reads key words and picks from a catalogue."""

    name = "simulated"

    def plan(self, requirement: str, max_executors: int, cancel: Cancel | None = None) -> PlanDraft:
        """A valid plan for any text; ``max_executors`` makes no difference, and there is no time for a cancel."""
        from pto_engines.simulated.blueprint import draw

        blueprint = draw(requirement)
        plan = Plan(
            name=blueprint.reading.title,
            tasks=tuple(_spec(task, blueprint) for task in blueprint.tasks),
            checks=(ALL_TESTS,),
        )
        return PlanDraft(plan=plan, complexity=blueprint.reading.complexity, rationale=_rationale(blueprint))


def _spec(task: "Task", blueprint: "Blueprint") -> TaskSpec:
    checks = [RUN_TESTS + " ".join(task.tests)] if task.tests else []
    if "README.md" in task.paths:
        checks.append(DOCS_THERE)
    return TaskSpec(
        id=TaskId(task.id),
        title=task.title,
        agent=f"{task.does} Package: {blueprint.reading.package}. Files: {', '.join(task.paths)}.",
        depends_on=tuple(TaskId(need) for need in task.depends_on),
        writes=task.paths,
        outputs=task.paths,
        checks=tuple(checks),
        estimate_s=round(SECONDS_PER_FILE * (1 + len(task.files)), 1),
    )


def _rationale(blueprint: "Blueprint") -> str:
    reading = blueprint.reading
    return (
        f"SIMULATED plan, made without a language model: the words of the requirement suggest a project of the kind "
        f"'{reading.family.name}' with complexity {reading.complexity} of 100, so it has {len(blueprint.tasks)} tasks."
    )
