"""What a judge remembers of the log: runs, tasks and attempts in the order in which they were told."""

from dataclasses import dataclass, field

from pto_proto import events as ev
from pto_proto.ids import Digest, InstanceId, Lane, RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunRequested

INFRA_BOUND = 5
PLAN_BOUND = 2
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
    stop_seq: int = 0
    retry_due: int = 0


@dataclass
class TaskStory:
    """One task of a run."""

    spec: TaskSpec | None
    attempts: list[Attempt] = field(default_factory=list)
    state: str = ""
    """How it ended; empty: it has not."""

    def failures(self, *kinds: str) -> int:
        """How many attempts ended with one of these failure classes."""
        return sum(attempt.failure in kinds for attempt in self.attempts if attempt.end_seq)


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
    reused: set[tuple[str, TaskId]] = field(default_factory=set)
    """(plan digest, task) of what is taken over from earlier runs."""
    settled_seq: int = 0
    cancelling_seq: int = 0
    executed_seq: int = 0
    finished: ev.RunFinished | None = None
    finished_seq: int = 0
    is_stopped: bool = False

    def note_complete(self, digest: Digest) -> None:
        """A part or the end of this plan has come; they may come in any order."""
        task, parts = self.ends.get(digest, ("", 0))
        if task == "_plan" and len(self.planned.get(digest, ())) == parts and digest not in self.plans:
            self.plans.append(digest)

    def out(self) -> list[Attempt]:
        """Attempts that are handed out and have neither ended nor been given up."""
        return [a for story in self.tasks.values() for a in story.attempts[-1:] if not a.end_seq]

    def story(self, task: TaskId) -> TaskStory:
        """The task's story, begun when first asked for."""
        return self.tasks.setdefault(task, TaskStory(None))

    def retries(self, task: TaskId) -> int:
        """How many failures of its own the task may have and still go on."""
        spec = self.story(task).spec
        if spec is None:
            return PLAN_BOUND
        return self.request.max_retries if spec.retries is None else spec.retries

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
