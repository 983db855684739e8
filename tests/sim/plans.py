"""What is asked of a world: random plans, and how each task behaves whenever it is executed.

Invariant: what becomes of a task depends on how many of its executions were counted, and on nothing else; so every
disturbed run of a plan has to come to the same end as the undisturbed one.
"""

from dataclasses import dataclass, field
from random import Random

import msgspec

from pto_proto.events import FailureClass
from pto_proto.ids import MERGE_TASK, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested

MAX_TASKS = 15


@dataclass
class Behaviour:
    """One task: the failures of its first executions, then success; how long each takes."""

    failures: tuple[FailureClass, ...] = ()
    again: tuple[FailureClass, ...] = ()
    """The same each time that it has to run once more after a success."""
    is_steady: bool = False
    """It makes the same in every round."""
    is_absorbing: bool = False
    """It makes the same whatever it sees."""
    duration_s: tuple[float, float] = (0.0, 1.0)


@dataclass
class Ask:
    """One run: when it is asked for, with which plan, and how its tasks behave."""

    request: RunRequested
    plan: Plan
    at_s: float
    by: str
    """How the plan travels: ``inline``, ``digest`` or ``engine``."""
    behaviours: dict[TaskId, Behaviour] = field(default_factory=dict)
    reds: tuple[TaskId, ...] = ()
    """Whom the first merges are traced to, because they are red; the one after them is green."""

    @property
    def run(self) -> RunId:
        return self.request.run

    def behaviour(self, task: TaskId) -> Behaviour:
        """How this task behaves."""
        return self.behaviours.get(task, Behaviour())


def draw_asks(random: Random) -> list[Ask]:
    """The runs of a world: few and small, so that thousands of worlds can be tried."""
    count = random.choice((1, 1, 1, 2, 2, 3))
    asks = [_draw_ask(random, f"run-{number:03d}", MAX_TASKS // count) for number in range(1, count + 1)]
    for ask in asks:
        if random.random() < 0.4:
            _redden(random, ask)
    return asks


def draw_plan(random: Random, most: int) -> Plan:
    """A random graph: chains, layers or loose tasks, in random order."""
    count = random.randint(min(3, most), most)
    density = random.choice((0.0, 0.1, 0.3, 0.6))
    reach = random.choice((1, 2, count))
    specs = []
    for number in range(count):
        near = range(max(0, number - reach), number)
        depends_on = tuple(TaskId(f"t{other}") for other in near if random.random() < density)
        specs.append(
            TaskSpec(
                id=TaskId(f"t{number}"),
                noop=random.random() < 0.8,
                command="",
                depends_on=depends_on,
                retries=random.choice((None, None, None, 0, 1, 2)),
                estimate_s=random.choice((None, None, 1.0, 5.0)),
            )
        )
    specs = [spec if spec.noop else _as_command(spec) for spec in specs]
    random.shuffle(specs)
    return Plan(name="sim", tasks=tuple(specs))


def _as_command(spec: TaskSpec) -> TaskSpec:
    return TaskSpec(
        id=spec.id, command="true", depends_on=spec.depends_on, retries=spec.retries, estimate_s=spec.estimate_s
    )


def _draw_ask(random: Random, run: str, most: int) -> Ask:
    plan = draw_plan(random, most)
    by = random.choice(("inline", "inline", "inline", "digest", "engine"))
    request = RunRequested(
        run=RunId(run),
        requirement=f"plan of {run}" if by == "engine" else "",
        plan=plan if by == "inline" else None,
        max_executors=random.choice((1, 2, 3, 5)),
        max_retries=random.choice((0, 1, 2)),
        on_failure=random.choice(("continue", "continue", "continue", "stop")),
        approve=random.random() < 0.2,
    )
    failing = random.choice((0.0, 0.1, 0.4))
    slow = random.choice((0.1, 2.0, 8.0, 20.0))
    behaviours = {spec.id: _draw_behaviour(random, failing, slow) for spec in plan.tasks}
    if random.random() < 0.1:
        behaviours[MERGE_TASK] = _draw_behaviour(random, 0.5, slow)
    return Ask(request, plan, random.uniform(0.0, random.choice((0.5, 4.0, 10.0))), by, behaviours)


def _redden(random: Random, ask: Ask) -> None:
    """Let agents do some of the tasks, and merges be red: once, a few times or always, by one task or by several."""
    names = [spec.id for spec in ask.plan.tasks]
    agents = {*random.sample(names, random.randint(1, len(names)))}
    specs = [_as_agent(spec) if spec.id in agents else spec for spec in ask.plan.tasks]
    ask.plan = msgspec.structs.replace(ask.plan, tasks=tuple(specs))
    if ask.request.plan is not None:
        ask.request = msgspec.structs.replace(ask.request, plan=ask.plan)
    suspects = random.choice((names, sorted(agents), [random.choice(sorted(agents))]))
    ask.reds = tuple(random.choice(suspects) for _ in range(random.choice((1, 1, 2, 3, 40))))
    steady, absorbing, failing = (random.choice((0.0, 0.2, 0.6)) for _ in range(3))
    for name in names:
        known = ask.behaviours[name]
        known.is_steady, known.is_absorbing = random.random() < steady, random.random() < absorbing
        known.again = _draw_behaviour(random, failing / 2, 0.0).failures
        if random.random() < 0.5:
            known.failures = ()  # what lacks a task is never traced


def _as_agent(spec: TaskSpec) -> TaskSpec:
    return TaskSpec(
        id=spec.id, agent="do it", depends_on=spec.depends_on, retries=spec.retries, estimate_s=spec.estimate_s
    )


def _draw_behaviour(random: Random, failing: float, slow: float) -> Behaviour:
    kinds: tuple[FailureClass, ...] = ("task", "task", "task", "timeout", "infra", "capacity", "config", "budget")
    failures: list[FailureClass] = []
    while len(failures) < 4 and random.random() < failing:
        failures.append(random.choice(kinds))
    return Behaviour(tuple(failures), duration_s=(0.0, slow))
