"""What the fold knows: runs with their tasks, and lanes with their dispatcher instances.

Imports pto_proto and siblings only. Invariant: only ``fold`` changes these objects; per finished task at most 1 kB
stays.
"""

from typing import NamedTuple

from pto_core.graph import Graph
from pto_core.lanes import lane_named
from pto_core.money import Money, micro
from pto_core.nodes import Nodes
from pto_core.rests import WHOLE_LANE, Rest
from pto_core.transitions import ENDED_PHASES, OPEN_STATES, RunPhase, TaskState
from pto_proto.events import (
    FailureClass,
    PlanEditAccepted,
    PlanFinished,
    RunConsolidated,
    RunFinished,
    RunPaused,
    TaskReopened,
    TaskReused,
)
from pto_proto.ids import (
    EDIT_TASK,
    LANE_CONSOLIDATOR,
    LANE_PLANNER,
    MERGE_TASK,
    NO_DIGEST,
    PLAN_TASK,
    Digest,
    InstanceId,
    Lane,
    RunId,
    TaskId,
)
from pto_proto.plans import Resources, TaskSpec
from pto_proto.requests import RunRequested


class Task:
    """One task of a run. Slotted, because a run may have 100,000 of them."""

    __slots__ = (
        "again", "attempt", "burned", "due_at", "failure", "index", "infra", "inputs", "instance", "key", "manifest",
        "reason", "reserved", "round", "slot", "spec", "state", "stopping", "tree", "unknown", "unmet",
    )  # fmt: skip

    def __init__(self, spec: TaskSpec, index: int, unmet: int) -> None:
        self.spec = spec
        self.index = index
        """Position in the plan; -1 for the system's own tasks."""
        self.state = TaskState.PLANNED
        self.unmet = unmet
        """Dependencies that have not succeeded yet."""
        self.attempt = 0
        """The last attempt handed out in this round, from 1."""
        self.round = 0
        """How often a red merged tree was traced to the task."""
        self.burned = 0
        """Failures of the task itself, which use up retries."""
        self.infra = 0
        """Attempts lost to the infrastructure."""
        self.again: Resources | None = None
        """What the next attempt gets, if one before had too little."""
        self.instance: InstanceId | None = None
        self.slot = -1
        self.reserved = 0
        """What is set aside for the attempt that is out, in millionths of a US dollar."""
        self.due_at = 0
        """Unix ms before which the next attempt must not start."""
        self.stopping = False
        """Whether AttemptStopRequested is in the log for the current attempt."""
        self.unknown = False
        """Whether AttemptUnknown is the last word about the current attempt."""
        self.inputs: Digest = NO_DIGEST
        """Over the input files that the task sees."""
        self.key: Digest = NO_DIGEST
        self.manifest: Digest = NO_DIGEST
        self.tree: Digest = NO_DIGEST
        self.failure: FailureClass | None = None
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether an attempt is out."""
        return self.state in OPEN_STATES


class Attempt(NamedTuple):
    """What names an attempt within its run."""

    task: TaskId
    round: int
    attempt: int

    @property
    def label(self) -> str:
        """As people read it, and as ``RunFinished.unconfirmed`` lists it."""
        return f"{self.task}.{self.attempt}.r{self.round}" if self.round else f"{self.task}.{self.attempt}"


class PlanParts:
    """The parts of one plan as far as they have come."""

    __slots__ = ("finished", "parts", "seen")

    def __init__(self) -> None:
        self.parts: dict[int, tuple[TaskSpec, ...]] = {}
        self.seen: dict[int, tuple[Digest, ...]] = {}
        """Part -> per task a digest over its input files; a part without any is not in it."""
        self.finished: PlanFinished | None = None

    @property
    def complete(self) -> bool:
        """Whether all parts and the end of the plan are known."""
        return self.finished is not None and len(self.parts) == self.finished.parts

    def tasks(self) -> tuple[TaskSpec, ...]:
        """All tasks in plan order; call it only when complete."""
        return tuple(spec for part in sorted(self.parts) for spec in self.parts[part])

    def seen_inputs(self) -> tuple[Digest, ...]:
        """Per task, in the order of ``tasks``, a digest over the input files that it sees."""
        return tuple(
            seen for part in sorted(self.parts) for seen in self.seen.get(part) or (NO_DIGEST,) * len(self.parts[part])
        )


_SYSTEM_TASKS = {
    RunPhase.PLANNING: PLAN_TASK,
    RunPhase.AWAITING_APPROVAL: EDIT_TASK,
    RunPhase.CONSOLIDATING: MERGE_TASK,
}


def _system_tasks() -> dict[TaskId, Task]:
    return {
        PLAN_TASK: Task(TaskSpec(id=PLAN_TASK, title="Plan the work"), -1, 0),
        MERGE_TASK: Task(TaskSpec(id=MERGE_TASK, title="Merge the outputs"), -1, 0),
    }


class Run:
    """One run, from its acceptance on."""

    def __init__(self, run: RunId, request: RunRequested, *, seq: int, at: int, content_digest: Digest) -> None:
        self.id, self.request = run, request
        self.accepted_seq, self.accepted_at = seq, at
        self.content_digest = content_digest
        self.requester = ""  # who may change it, besides operators; empty: anybody
        self.phase = RunPhase.PLANNING
        self.max_executors = request.max_executors
        self.money = Money(micro(request.max_cost_usd))
        self.plans_by_model = bool(request.requirement) and request.plan is None and not request.plan_digest
        """Whether a model makes the plan; it costs nothing to take one that came with the request."""
        self.paused: RunPaused | None = None
        self.poisoned: tuple[int, str] | None = None
        """Sequence and reason of an event that does not fit, until RunPaused(poisoned) is in the log."""
        self.halt: tuple[str, str] | None = None
        """Kind and reason of a pause that a failure calls for, until RunPaused is in the log."""
        self.plans: dict[Digest, PlanParts] = {}
        self.plan: PlanFinished | None = None
        """The first complete plan, or the edited one that took its place; it runs once PlanSettled says so."""
        self.edit: PlanEditAccepted | None = None
        """That a person replaced the plan, without the plan itself; from then on there is a system task for it."""
        self.reused: dict[TaskId, TaskReused] = {}
        """Tasks whose outputs are taken over from earlier runs; the plan is laid out with them."""
        self.settled, self.rejected = False, ""
        self.tasks: list[Task] = []
        self.has_only_agents = False
        """Whether each of them asks a model."""
        self.index: dict[TaskId, int] = {}
        self.graph = Graph((), (), ())
        self.system = _system_tasks()
        self.ready: dict[Lane, list[int]] = {}
        """Lane -> ranks (see Graph.rank) of the tasks that may be handed out, ascending: the most urgent is last."""
        self.unscheduled: dict[TaskId, Task] = {}
        """Tasks in waiting-retry about which TaskRetryScheduled has not said yet when the next attempt is due."""
        self.due: list[tuple[int, TaskId]] = []
        """The other tasks in waiting-retry by when they are due (Unix ms), the earliest first."""
        self.open: dict[TaskId, Task] = {}
        """Tasks with an attempt out: what counts against the executors."""
        self.unwanted: dict[TaskId, Task] = {}
        """Tasks with an attempt out that was handed out a moment after the run had given them up."""
        self.reopened: dict[TaskId, TaskReopened] = {}
        """Tasks that a red merged tree was traced to -> the last time; the latest one is at the end."""
        self.revoked: dict[TaskId, Digest] = {}
        """Tasks that have to succeed once more -> the tree of their last success."""
        self.review: dict[TaskId, bool] = {}
        """Done tasks below a revoked one -> whether anything that they see has changed so far."""
        self.lost: dict[Attempt, InstanceId] = {}
        """Attempts given up by rule whose end nobody has confirmed: they may still run."""
        self.stopped = False
        """Whether a failure ended the whole run's hand-out (on_failure: stop)."""
        self.nodes = Nodes()
        self.counts: dict[TaskState, int] = {}
        self.unended = 0
        """Tasks of the plan that have not ended."""
        self.last_hand_out = 0
        """Sequence of the last TaskReady, for fairness between runs."""
        self.consolidated: RunConsolidated | None = None
        self.finished: RunFinished | None = None
        self.finished_seq = 0
        """Sequence of RunFinished; 0: it goes on."""

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.phase in ENDED_PHASES

    @property
    def may_be_handed_out(self) -> bool:
        """Whether there is something to hand out, now or later, and the run itself lets it."""
        if self.paused is not None or self.poisoned is not None or self.halt is not None:
            return False
        if len(self.open) >= self.max_executors:
            return False
        return bool(self.due) or self.waiting_system_task is not None or self.has_ready

    @property
    def has_ready(self) -> bool:
        """Whether a task of the plan may have its first attempt."""
        return self.phase is RunPhase.RUNNING and any(self.ready.values())

    @property
    def waiting_system_task(self) -> Task | None:
        """The system's own task that is to be handed out in this phase, if it was not yet."""
        name = _SYSTEM_TASKS.get(self.phase)
        task = self.system.get(name) if name is not None else None
        return task if task is not None and task.state is TaskState.PLANNED else None

    @property
    def delayed(self) -> list[Task]:
        """Tasks in waiting-retry, those that are due first at the end."""
        known = (self.task(name) for _, name in reversed(self.due))
        return [*self.unscheduled.values(), *(task for task in known if task is not None)]

    def task(self, task: TaskId) -> Task | None:
        """The task with this id, the system's own included."""
        at = self.index.get(task)
        return self.tasks[at] if at is not None else self.system.get(task)

    def lane_of(self, task: Task) -> Lane:
        """Where attempts of this task are handed out."""
        if task.index < 0:
            if task.spec.id == PLAN_TASK and self.request.planner_backend:
                return lane_named(self.request.planner_backend)
            return LANE_CONSOLIDATOR if task.spec.id == MERGE_TASK else LANE_PLANNER
        return lane_named(task.spec.backend or self.request.backend)

    def model_of(self, task: Task) -> str:
        """The model that attempts of this task ask; an engine's name stands for its default. Empty: they ask none."""
        asks = bool(task.spec.agent) if task.index >= 0 else task.spec.id == PLAN_TASK and self.plans_by_model
        return (self.request.model or self.request.engine) if asks else ""


class Instance:
    """One dispatcher instance as it announced itself."""

    __slots__ = ("can_run", "capacity", "draining", "incarnation")

    def __init__(self, incarnation: str, capacity: int, can_run: tuple[str, ...]) -> None:
        self.incarnation = incarnation
        self.capacity = capacity
        self.can_run = can_run
        self.draining = False


class LaneState:
    """One lane: its instances and how many attempts each has out."""

    def __init__(self) -> None:
        self.instances: dict[InstanceId, Instance] = {}
        self.in_use: dict[InstanceId, int] = {}
        self.rests: dict[str, Rest] = {}
        """Model (``WHOLE_LANE``: all of them) -> how long attempts that need it have to wait."""
        self.last_hand_out = 0
        """Sequence of the last TaskReady, for fairness between lanes."""

    def rest(self, model: str) -> Rest:
        """The rest of this model, made when first named."""
        known = self.rests.get(model)
        if known is None:
            known = self.rests[model] = Rest()
        return known

    def resting(self, model: str = WHOLE_LANE) -> Rest | None:
        """The rest for which attempts that need this model have to wait: the lane's or the model's; None: neither."""
        for name in (WHOLE_LANE, model):
            found = self.rests.get(name)
            if found is not None and found.holds:
                return found
        return None


class State:
    """Everything that the log says, up to ``seq``."""

    def __init__(self) -> None:
        self.seq = 0
        self.now = 0
        """The latest time that a scheduler recorded (Unix ms); it never goes back."""
        self.epoch = 0
        self.epoch_seq = 0
        self.request_seq = 0
        """The last sequence of PTO_REQ that was answered."""
        self.minute = 0
        """The minute (since 1970) of the last answer, for which the next two count."""
        self.asked: dict[str, int] = {}
        """Requester -> requests that were answered in this minute."""
        self.asked_bytes: dict[str, int] = {}
        """The same in bytes."""
        self.runs: dict[RunId, Run] = {}
        self.active: dict[RunId, Run] = {}
        """Runs that have not ended."""
        self.archived: dict[RunId, Digest] = {}
        """Runs that left with the archived part of the log -> their content digest; nothing else of them is kept."""
        self.lanes: dict[Lane, LaneState] = {}
        self.touched: set[RunId] = set()
        """Runs about which there was news since the scheduler last decided; it empties this before it folds on."""
        self.hungry: set[RunId] = set()
        """Runs that ``may_be_handed_out``: of a thousand runs that wait for their tasks' ends, none is looked at."""

    def lane(self, lane: Lane) -> LaneState:
        """The lane's state, made when first named."""
        known = self.lanes.get(lane)
        if known is None:
            known = self.lanes[lane] = LaneState()
        return known

    def note_news(self, name: RunId) -> None:
        """There was news about this run: keep ``touched`` and ``hungry`` right."""
        self.touched.add(name)
        run = self.active.get(name)
        if run is not None and run.may_be_handed_out:
            self.hungry.add(name)
        else:
            self.hungry.discard(name)
