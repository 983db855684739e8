"""The engine ports: who makes a plan from a requirement, and who does an agent's task at a workbench.

Invariant: an engine reports, it does not judge; the harness behind the workbench decides whether a task succeeded.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec

from pto_proto.events import FailureClass
from pto_proto.plans import Plan, TaskSpec
from pto_proto.results import Usage


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was paid for, so far or in all."""

    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    """None: unknown, because a price is."""
    turns: int = 0
    """Answers of the model."""

    def __add__(self, other: "Spent") -> "Spent":
        """The sum; a cost that is unknown stays unknown."""
        mine, theirs = msgspec.structs.astuple(self.usage), msgspec.structs.astuple(other.usage)
        known = self.cost_usd is not None and other.cost_usd is not None
        return Spent(
            usage=Usage(**dict(zip(Usage.__struct_fields__, map(sum, zip(mine, theirs, strict=True)), strict=True))),
            cost_usd=(self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
            turns=self.turns + other.turns,
        )


class EngineError(Exception):
    """An engine could not do its work; the message says why, for the person who asked.

    ``failure`` is the failure class that decides what happens next, ``hint`` what a person can do, ``retry_after_s``
    (for ``capacity``) when the next try makes sense, ``spent`` what was paid until then.
    """

    def __init__(
        self,
        reason: str,
        *,
        failure: FailureClass = "task",
        hint: str = "",
        retry_after_s: float = 0.0,
        spent: Spent | None = None,
    ) -> None:
        super().__init__(reason)
        self.failure: FailureClass = failure
        self.hint = hint
        self.retry_after_s = retry_after_s
        self.spent = spent or Spent()


class EngineVariables(NamedTuple):
    """What an engine that runs elsewhere needs to ask its model, as variables of its environment."""

    variables: dict[str, str]
    secrets: tuple[str, ...]
    """The values among them that must never be shown."""

    def __repr__(self) -> str:
        """No value."""
        return f"EngineVariables({sorted(self.variables)})"


class Cancel(Protocol):
    """The request to end, from any thread; it can be made once and stays."""

    @property
    def requested(self) -> bool:
        """Whether the work shall end."""

    @property
    def reason(self) -> str:
        """Why, in the words of who asked."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on a request, in the requester's thread; at once if it was already made."""

    def unlisten(self, listener: Callable[[], None]) -> None:
        """When this returns, the listener is not running and will not be called again."""


class PlanDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a planning engine returns."""

    plan: Plan
    complexity: int
    """0-100."""
    rationale: str
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    model: str = ""
    prompt_digest: str = ""
    """Names the templates that the model was asked with."""
    repairs: int = 0
    """Answers that were refused before this one."""


class PlanEngine(Protocol):
    """Makes a plan from a requirement."""

    name: str

    def plan(self, requirement: str, max_executors: int, cancel: Cancel | None = None, model: str = "") -> PlanDraft:
        """A valid plan. Called in a worker thread; ends soon after a cancel. ``model`` empty: the engine's default.

        Raises EngineError.
        """


class AttemptLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt may use; what is reached ends it with ``timeout``, ``budget`` or ``task``."""

    turns: int = 80
    """Answers of the model; more is a loop."""
    tokens: int = 4_000_000
    """Tokens of all kinds in all turns; most are cached ones, which are read again in every turn."""
    cost_usd: float | None = None
    time_s: float = 3600.0
    feedback_turns: int = 3
    """How often failed checks go back to the agent."""
    command_s: float = 300.0
    """Longest command that an agent may run."""


class AgentTask(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at an agent's task."""

    requirement: str
    spec: TaskSpec
    model: str = ""
    """Empty: the engine's default."""
    limits: AttemptLimits = AttemptLimits()
    notes: str = ""
    """What an earlier attempt that was cut off noted (``Workbench.keep_notes``); its files are in the workspace
    again.
    """
    evidence: str = ""
    """Why an earlier result was not accepted: the failed check and its output."""


class Ended(NamedTuple):
    """How a program ended."""

    exit_code: int
    why: Literal["exited", "timeout", "cancelled"]


class Workbench(Protocol):
    """What the harness gives an engine for one attempt. All of it may be used from the engine's thread only."""

    @property
    def workspace(self) -> Path:
        """Holds the inputs and the outputs of the task's ancestors."""

    @property
    def scratch(self) -> Path:
        """A private folder outside the workspace, gone after the attempt; it need not exist yet."""

    @property
    def cancel(self) -> Cancel:
        """The attempt's own."""

    def now_s(self) -> float:
        """The clock of the attempt's time limit, in seconds; time in which its process was stopped is left out."""

    def refusal(self, path: str) -> str:
        """Why the agent may not write this path (relative to the workspace); empty if it may."""

    def run(
        self,
        command: str | Sequence[str],
        *,
        feed: Callable[[str, bytes], None],
        time_limit_s: float,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Ended:
        """Run shell text that an agent wrote, or the engine's own program (an argument vector), in the workspace.

        Shell text gets the task's environment and no network where the sandbox can do that. A program gets
        ``environment`` alone. Output goes to ``feed(stream, data)``. Raises OSError when it cannot be started.
        """

    def judge(self) -> str:
        """Look for the declared outputs and run the declared checks: what is wrong, for the agent; empty if nothing."""

    def note(self, line: str) -> None:
        """A line for the attempt's log."""

    def keep_notes(self, text: str) -> None:
        """Remember this for the next attempt, should this one be cut off. Replaces what was kept before."""

    def spent(self, spent: Spent) -> None:
        """What the attempt has cost so far. Raises EngineError(``budget``) when it may not cost more."""


class AttemptDone(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says about an attempt that it takes for finished. The harness believes none of it."""

    spent: Spent = Spent()
    summary: str = ""
    model: str = ""
    prompt_digest: str = ""


class TaskEngine(Protocol):
    """Does an agent's task by writing files."""

    name: str

    def execute(self, task: AgentTask, bench: Workbench) -> AttemptDone:
        """Do the task in the bench's workspace. Called in a worker thread; ends soon after a cancel.

        When the work seems done, ``bench.judge()`` is asked; what it finds goes back to the agent,
        ``feedback_turns`` times. Raises EngineError.
        """
