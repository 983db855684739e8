"""What happened, past tense: the entries of the events in the stream ``PTO``.

Imports msgspec only. Invariant: each type has one writing role (``WRITERS``), and an entry's identity is
(run, round, task, attempt, kind), where the run is named once by the event that carries it. All times are Unix time in
milliseconds. A change of a shipped struct needs a new version (``VERSIONS``), an upcast and a stored sample.
"""

from typing import Literal

from pto_proto.entries import AnswerEntry as AnswerEntry
from pto_proto.entries import Entry as Entry
from pto_proto.entries import TaskEntry as TaskEntry
from pto_proto.ids import NO_DIGEST, Digest, InstanceId, TaskId
from pto_proto.plans import DockerOptions, Plan, Problem, Resources, TaskSpec
from pto_proto.requests import OnConflict, RunRequested, Sandbox
from pto_proto.results import CheckResult, Conflict, Usage

FailureClass = Literal["task", "timeout", "capacity", "infra", "config", "budget", "cancelled"]
Outcome = Literal["succeeded", "failed", "cancelled"]
RunStatus = Literal["succeeded", "partial", "failed", "cancelled"]
PlanDecision = Literal["not-asked", "approved", "edited", "rejected"]


# --- scheduler -------------------------------------------------------------------------------------------------------


class SchedulerEpochStarted(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A scheduler became the leader. Its sequence in the log fences all that the leader before it may still send."""

    epoch: int
    instance: InstanceId
    incarnation: str
    schema_level: int
    """No writer may write event versions above this level."""


class RunAccepted(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """A run exists from here on; the whole request is inside, so that the log alone rebuilds the run."""

    content_digest: Digest
    request: RunRequested
    task_count: int = 0
    """Tasks of a plan that came with the request, after expansion; 0 when the planner will make the plan."""


class RequestRefused(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """A request was refused; no run is touched."""

    kind: str
    reasons: tuple[Problem, ...]


class PlanSettled(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The plan with this digest is the one that runs, or was rejected."""

    plan_digest: Digest
    decision: PlanDecision = "not-asked"
    reason: str = ""
    """Why it was rejected."""


class PlanEditAccepted(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The plan with this digest is replaced by an edited one: the planner writes that down next, then it is settled."""

    plan_digest: Digest
    plan: Plan | None = None
    edited_digest: Digest = NO_DIGEST
    """Names the edited plan as a blob, if it is not in ``plan``."""
    task_count: int
    """Tasks of the edited plan, after expansion."""


class RunCancelling(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """No attempt of the run starts from here on; what runs is asked to stop."""

    reason: str = ""


class TaskReady(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt is handed out to one dispatcher instance. It counts against the run's executors from here on."""

    instance: InstanceId
    slot: int = 0
    """Executor slot of the run, 0 .. max_executors-1; names the folder ``executor_<slot>``."""
    key: Digest = NO_DIGEST
    """Content key: what the result depends on."""
    spec: TaskSpec
    """The task, with what the last attempt asked for, and the run's values where its plan leaves things open."""
    avoid: tuple[str, ...] = ()
    """Nodes that failed attempts of the run: to be left out as long as others are left."""
    docker: DockerOptions = DockerOptions()
    trees: tuple[Digest, ...] = ()
    """Tree digests of the direct dependencies, without empty ones and repeats, in the order of ``depends_on``."""
    inputs_digest: Digest = NO_DIGEST
    inputs: tuple[str, ...] = ()
    """Plan-wide input globs, besides the task's own."""
    requirement: str = ""
    """The run's requirement, for agents."""
    engine: str = "simulated"
    model: str = ""
    """The model an agent is asked to use; empty: the engine's default."""
    reserved_usd: float = 0.0
    """What is set aside for the attempt: it counts as spent until TaskFinished says what it cost."""
    on_conflict: OnConflict = "fail"
    sandbox: Sandbox = "agents"
    evidence: str = ""
    """Why the task was reopened: what its last outputs did to the merged project; empty in its first round."""


class AttemptStopRequested(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """An order to end an attempt; its slot stays taken until TaskFinished says that it ended."""

    instance: InstanceId
    reason: str = ""


class AttemptUnknown(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """No news from the attempt's dispatcher for too long; nothing is concluded from that."""

    instance: InstanceId


class AttemptLost(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt is given up by rule; a late result of it is recorded and not applied."""

    instance: InstanceId
    reason: str = ""


class TaskRetryScheduled(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The failed attempt ``attempt`` will be followed by another one, not before ``due_at`` (Unix ms)."""

    due_at: int
    failure: FailureClass


class TaskReused(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """A task need not run: a verified success with the same content key is taken over. Written before PlanSettled."""

    plan_digest: Digest
    task: TaskId
    key: Digest
    manifest: Digest = NO_DIGEST
    tree: Digest = NO_DIGEST
    source_run: str = ""
    """The run in which it succeeded; that run may lie in another log."""
    source_task: TaskId = TaskId("")


class TaskReopened(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """A red merged tree was traced to this task: its key is revoked, and it runs again in the ``round`` that begins.
    What depends on it does so only if what it sees has changed. ``attempt`` made what is revoked (0: taken over).
    """

    evidence: str = ""


class LanePaused(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing is handed out in the lane before ``until`` (Unix ms; 0: until resumed)."""

    reason: str
    until: int = 0
    model: str = ""
    """Only attempts that need this model wait; an engine's name stands for that engine's default. Empty: all."""


class LaneResumed(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """The lane is handed out again, or those of its attempts that need this model."""

    model: str = ""


class RunPaused(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing more of the run is handed out. ``kind`` says why, ``reason`` what would end it."""

    kind: Literal["asked", "config", "budget", "poisoned"]
    reason: str = ""
    sequence: int = 0
    """For ``poisoned``: the log sequence of the event that does not fit."""


class RunResumed(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The run is handed out again."""


class BudgetChanged(AnswerEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The run may use this many executors, and this much money, from here on."""

    max_executors: int
    max_cost_usd: float | None = None
    """None: as before."""


class RunExecuted(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """Every task of the run has ended; the outputs are merged next."""


class RunFinished(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """The run ended."""

    status: RunStatus
    tasks: dict[str, int]
    """End state -> number of tasks."""
    reason: str = ""
    outcome_digest: Digest = NO_DIGEST
    """Digest over the status and, per task, its end state, key and manifest; the same for undisturbed repeats."""
    tree_digest: Digest = NO_DIGEST
    unconfirmed: tuple[str, ...] = ()
    """Attempts whose end nobody confirmed: ``task.attempt``, in later rounds ``task.attempt.r<round>``."""


# --- archiver ---------------------------------------------------------------------------------------------------------


class LogArchived(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """The log up to ``sequence`` was exported as the named segment and may be purged from here on."""

    sequence: int
    segment: Digest
    snapshot: Digest = NO_DIGEST
    """Names the state after the event at ``sequence``: who starts from zero starts from there instead."""


# --- planner ---------------------------------------------------------------------------------------------------------


class TaskPlanned(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """Part ``part`` (from 0) of the ``parts`` of the plan with this digest. Inert until PlanFinished."""

    plan_digest: Digest
    part: int
    parts: int
    tasks: tuple[TaskSpec, ...]
    seen_inputs: tuple[Digest, ...] = ()
    """Per task, a digest over the input files that it will see (empty: none); left out when no task sees any."""


class PlanFinished(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """A plan is complete; the first one of ``_plan`` wins, until an edited one of ``_edit`` takes its place."""

    plan_digest: Digest
    name: str
    parts: int
    task_count: int
    inputs: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    complexity: int | None = None
    """0-100; None for a plan that a person brought."""
    rationale: str = ""
    engine: str = ""
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    """None: unknown."""
    model: str = ""
    """The model that made the plan."""
    prompt_digest: str = ""
    """Names the texts that the model was asked with."""
    repairs: int = 0
    """Answers of the model that were refused before this one."""


# --- dispatchers (planner and consolidator report in their own lanes the same way) -----------------------------------


class DispatcherUp(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """An instance is ready for work in its lane. A new incarnation of an instance ends the one before it."""

    instance: InstanceId
    incarnation: str
    capacity: int
    """Attempts that it takes at once."""
    can_run: tuple[str, ...] = ()
    """What it can do: ``noop``, ``command``, ``agent:<engine>``, ``plan``, ``merge``."""
    images: dict[str, str] = {}
    version: str = ""


class DispatcherDraining(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """The instance takes nothing more; what it runs goes on."""

    instance: InstanceId
    incarnation: str


class JobStateChanged(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The backend's own word about an attempt's job."""

    instance: InstanceId
    state: str
    job: str = ""
    detail: str = ""


class TaskStarted(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt's work began."""

    instance: InstanceId
    job: str = ""
    """The backend's own id, such as a process or job id."""


class TaskFinished(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The attempt ended. ``succeeded`` means that the harness saw its outputs and its checks pass."""

    instance: InstanceId
    outcome: Outcome
    failure: FailureClass | None = None
    reason: str = ""
    hint: str = ""
    """One sentence: what a person can do about it."""
    tail: tuple[str, ...] = ()
    """The last lines of its output, for a failure."""
    exit_code: int | None = None
    manifest: Digest = NO_DIGEST
    """Names the list of the attempt's own output files."""
    tree: Digest = NO_DIGEST
    """Names the attempt's outputs merged over those of all its ancestors: what its dependents see."""
    log: Digest = NO_DIGEST
    duration_s: float = 0.0
    """By the dispatcher's monotonic clock, from start to end."""
    files: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    """None: unknown; then what was reserved counts as spent."""
    retry_after_s: float = 0.0
    """For ``capacity``: when the next try makes sense; 0: nobody said."""
    again: Resources | None = None
    """``memory`` and ``time`` for the task's next attempts, if these were too small; bounded by who says so."""
    node: str = ""
    """Where it ran, if that may be to blame for a failure of the infrastructure."""
    sandbox: str = ""
    """What confined its programs: ``bubblewrap``, ``landlock``, ``container`` (``+landlock``), ``none``; or empty."""


# --- consolidator ----------------------------------------------------------------------------------------------------


class RunConsolidated(TaskEntry, frozen=True, kw_only=True, omit_defaults=True):
    """The outputs of all succeeded tasks are merged into one tree, named by its manifest."""

    tree_digest: Digest
    """Digest over (path, mode, content digest) of the merged tree: the same for the same files, whoever made them."""
    manifest: Digest
    files: int
    lines: int
    """Lines of text in files under ``src`` and ``tests``."""
    conflicts: tuple[Conflict, ...] = ()
    refused: tuple[str, ...] = ()
    """Paths that were not taken over, each with the reason."""
    checks: tuple[CheckResult, ...] = ()
    culprit: TaskId = TaskId("")
    """The task without whose files the first red check does not fail this way; empty: none was found, or looked for."""
    evidence: str = ""
    """Of the culprit: what its outputs do to the merged project. Without one: why a red check was traced to nobody."""
    merged_builds: int = 0
    """Merged trees that were checked, this one and those of the search for the culprit; 0: the plan has no checks."""


WRITERS: dict[str, tuple[type[Entry], ...]] = {
    "scheduler": (
        SchedulerEpochStarted, RunAccepted, RequestRefused, PlanEditAccepted, PlanSettled, RunCancelling, TaskReady,
        AttemptStopRequested, AttemptUnknown, AttemptLost, TaskRetryScheduled, TaskReused, TaskReopened, LanePaused,
        LaneResumed, RunPaused, RunResumed, BudgetChanged, RunExecuted, RunFinished,
    ),
    "archiver": (LogArchived,),
    "planner": (TaskPlanned, PlanFinished),
    "dispatcher": (DispatcherUp, DispatcherDraining, JobStateChanged, TaskStarted, TaskFinished),
    "consolidator": (RunConsolidated,),
}  # fmt: skip
"""Writing role -> the types it owns. Planner and consolidator also have the dispatcher role in their own lanes."""

EVENTS: tuple[type[Entry], ...] = tuple(kind for kinds in WRITERS.values() for kind in kinds)
VERSIONS: dict[type[Entry], int] = dict.fromkeys(EVENTS, 1)
SCHEMA_LEVEL = 1
"""Rises with every new type or version of an event, not with an optional field. SchedulerEpochStarted carries it."""
