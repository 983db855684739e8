"""What a judge remembers of the log: runs, tasks and attempts in the order in which they were told."""

from dataclasses import dataclass, field

from pto_proto import events as ev
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import Plan, Resources, TaskSpec
from pto_proto.requests import RunRequested

INFRA_BOUND = 5
PLAN_BOUND = 2
ROUND_BOUND = 2
DONE = ("succeeded", "reused")
FORGIVEN = ("capacity", "config", "budget")

Name = tuple[RunId, TaskId, int, int]


@dataclass
class Attempt:
    """One attempt as the log tells it."""

    name: Name
    lane: Lane
    instance: InstanceId
    ready_seq: int
    ready_at: int
    end_seq: int = 0
    """Where it ended or was given up; 0: it is out."""
    outcome: str = ""
    failure: str = ""
    is_own: bool = False
    """Whether an executor said so, not a dispatcher that restarted."""
    model: str = ""
    """The model that it asks, if any."""
    reserved: int = 0
    cost: int | None = None
    """Millionths of a dollar; None: nobody knows, or it is out."""
    again: Resources | None = None
    """What it said the next one should get."""
    node: str = ""
    """Where it ran, if it said so."""
    stop_seq: int = 0
    retry_due: int = 0

    @property
    def label(self) -> str:
        """As RunFinished lists it."""
        _, task, round_, attempt = self.name
        return f"{task}.{attempt}.r{round_}" if round_ else f"{task}.{attempt}"


@dataclass
class TaskStory:
    """One task of a run."""

    spec: TaskSpec | None
    attempts: list[Attempt] = field(default_factory=list)
    state: str = ""
    """How it ended; empty: it has not."""
    round: int = 0
    evidence: str = ""
    tree: str = ""
    """Of its last success."""
    saw: tuple[str, ...] = ()
    """Trees that its last attempt was handed."""
    keys: dict[str, int] = field(default_factory=dict)
    """Key -> number of attempts there were when it was first used."""
    start: int = 0
    """Attempts before it had to run once more."""

    def failures(self, *kinds: str) -> int:
        """How many attempts ended with one of these failure classes, since it has to run."""
        return sum(attempt.failure in kinds for attempt in self.attempts[self.start :] if attempt.end_seq)

    def begin_again(self) -> None:
        """It has to succeed once more."""
        self.state = ""
        self.start = len(self.attempts)


@dataclass
class RunStory:
    """One run."""

    run: RunId
    request: RunRequested
    accepted_seq: int
    executors: int
    limit: int | None = None
    """What it may cost, in millionths of a dollar."""
    tasks: dict[TaskId, TaskStory] = field(default_factory=dict)
    planned: dict[str, dict[int, tuple[TaskSpec, ...]]] = field(default_factory=dict)
    order: list[TaskId] = field(default_factory=list)
    paused: str = ""
    is_poisoned: bool = False
    ends: dict[Digest, tuple[TaskId, int]] = field(default_factory=dict)
    """Plan -> the system task that made it, and how many parts it has."""
    plans: list[Digest] = field(default_factory=list)
    """Complete plans of ``_plan``, the first one first."""
    edited: Plan | None = None
    """The plan that a person put in its place."""
    reused: dict[tuple[str, TaskId], str] = field(default_factory=dict)
    """(plan digest, task) of what is taken over from earlier runs -> its tree."""
    settled_seq: int = 0
    cancelling_seq: int = 0
    executed_seq: int = 0
    finished: ev.RunFinished | None = None
    finished_seq: int = 0
    is_stopped: bool = False
    merged: ev.RunConsolidated | None = None
    culprit: TaskId | None = None
    """The task that was reopened last."""

    def out(self) -> list[Attempt]:
        """Attempts that are handed out and have neither ended nor been given up."""
        return [a for story in self.tasks.values() for a in story.attempts[-1:] if not a.end_seq]

    def give_up(self, seq: int) -> None:
        """The run ended there: nobody waits any more for what is out."""
        for attempt in self.out():
            attempt.end_seq, attempt.outcome = seq, "unconfirmed"

    def story(self, task: TaskId) -> TaskStory:
        """The task's story, begun when first asked for."""
        return self.tasks.setdefault(task, TaskStory(None))

    def retries(self, task: TaskId) -> int:
        """How many failures of its own the task may have and still go on."""
        spec = self.story(task).spec
        if spec is None:
            return PLAN_BOUND
        return self.request.max_retries if spec.retries is None else spec.retries

    def sees(self, task: TaskId) -> tuple[str, ...]:
        """The trees that an attempt of the task would be handed now."""
        spec = self.tasks[task].spec
        trees = [self.story(name).tree for name in spec.depends_on] if spec is not None else []
        return tuple(dict.fromkeys(tree for tree in trees if tree))

    def waits(self, task: TaskId) -> bool:
        """Whether anything above the task has not ended."""
        spec = self.tasks[task].spec
        return spec is not None and any(not self.story(name).state or self.waits(name) for name in spec.depends_on)

    def may_reopen(self) -> TaskId | None:
        """Whom the red merged tree gives another round."""
        if self.merged is None or self.cancelling_seq or self.story(TaskId("_merge")).state != "succeeded":
            return None
        story = self.tasks.get(self.merged.culprit)
        is_whole = all(self.tasks[name].state in DONE for name in self.order)
        is_fit = story is not None and story.spec is not None and bool(story.spec.agent) and story.round < ROUND_BOUND
        return self.merged.culprit if is_whole and is_fit else None

    def below(self, task: TaskId) -> set[TaskId]:
        """All tasks that depend on this one, directly or not."""
        found = {task}
        while True:
            more = {
                name
                for name, story in self.tasks.items()
                if story.spec is not None and found & {*story.spec.depends_on}
            } - found
            if not more:
                return found - {task}
            found |= more
