"""What may be asked for: the payloads of the stream ``PTO_REQ``. A request changes nothing by itself.

Imports msgspec only. Invariant: the scheduler answers each request exactly once in the log, naming the request's id and
its sequence in ``PTO_REQ``. A request's id is the id of its envelope; its content is its data.
"""

from typing import Literal

import msgspec

from pto_proto.ids import NO_DIGEST, Digest, RunId
from pto_proto.plans import DockerOptions, Plan, Resources, SlurmOptions

OnFailure = Literal["continue", "stop"]
OnConflict = Literal["fail", "latest", "keep-both"]
Engine = Literal["simulated", "api", "claude-code"]
Sandbox = Literal["all", "agents", "none"]


class Request(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Base of all requests; ``run`` is the run it speaks of."""

    run: RunId


class RunRequested(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Asks for a new run from a ``requirement``, or from a ``plan`` (inline, or by ``plan_digest`` when over 256 kB).

    The same run id with the same content is the same run; with other content it is refused. ``inputs_digest`` names a
    JSON list of ``InputFile``. Executors are counted by ``max_executors`` (M), retries of a task's own failures by
    ``max_retries``. ``backend`` is ``local`` or the lane that runs the tasks.
    """

    name: str = ""
    requirement: str = ""
    plan: Plan | None = None
    plan_digest: Digest = NO_DIGEST
    inputs_digest: Digest = NO_DIGEST
    max_executors: int = 5
    max_retries: int = 3
    backend: str = "local"
    planner_backend: str = ""
    """Lane that plans instead of the planner's own: ``docker``, or empty."""
    resources: Resources = Resources()
    """Of tasks on the run's backend, where their plan says nothing."""
    slurm: SlurmOptions = SlurmOptions()
    """The same for where SLURM places them."""
    gpu_partition: str = ""
    """Partition of tasks that ask for GPUs and name none."""
    docker: DockerOptions = DockerOptions()
    engine: Engine = "simulated"
    model: str = ""
    """The model that the engine is to use; empty: its default."""
    max_cost_usd: float | None = None
    """What the run may cost in US dollars before it pauses and asks; None: no limit."""
    on_failure: OnFailure = "continue"
    on_conflict: OnConflict = "fail"
    sandbox: Sandbox = "agents"
    approve: bool = False
    resumes: str = ""
    """Run id of a finished run that this one continues: what succeeded there is taken over, not done again."""
    reuse: bool = False
    """Take over verified successes of any earlier run in this log with the same content key."""
    reuse_digest: Digest = NO_DIGEST
    """Names a JSON list of ``Reusable``: successes of runs in other logs that may be taken over."""
    traceparent: str = ""
    """W3C trace context of the requester; the run's trace links to it."""


class RunCancelRequested(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Asks to stop a run and all its attempts."""

    reason: str = ""


class RunPauseRequested(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Asks to hand out nothing more of a run; what runs goes on."""

    reason: str = ""


class RunResumeRequested(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Asks to go on with a paused run."""


class PlanApproved(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Approves the plan with this digest, or replaces it by the edited ``plan``."""

    plan_digest: Digest
    plan: Plan | None = None
    edited_digest: Digest = NO_DIGEST
    """Names the edited plan as a blob, instead of ``plan``, when it would make the request too big."""


class PlanRejected(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Rejects the plan with this digest; the run ends as cancelled."""

    plan_digest: Digest
    reason: str = ""


class BudgetChangeRequested(Request, frozen=True, kw_only=True, omit_defaults=True):
    """Asks for another number of executors, or another limit of cost, while the run goes on; None: as it is."""

    max_executors: int | None = None
    max_cost_usd: float | None = None


AnyRequest = (
    RunRequested
    | RunCancelRequested
    | RunPauseRequested
    | RunResumeRequested
    | PlanApproved
    | PlanRejected
    | BudgetChangeRequested
)

REQUESTS: tuple[type[Request], ...] = (
    RunRequested,
    RunCancelRequested,
    RunPauseRequested,
    RunResumeRequested,
    PlanApproved,
    PlanRejected,
    BudgetChangeRequested,
)
