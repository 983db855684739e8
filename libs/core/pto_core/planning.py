"""How a run comes to its plan: parts and ends as they arrive, and the edited plan that may take the first one's place.

Imports pto_proto and siblings only; the fold calls it while a run's plan is not settled. Invariants: the first complete
plan of ``_plan`` counts and no later one of ``_plan`` does; an edited plan counts once it is complete, and only if a
person asked for it.
"""

import msgspec

from pto_core.movements import IllegalEvent, drop, enter
from pto_core.state import PlanParts, Run, State, Task
from pto_core.transitions import RunPhase, TaskTrigger
from pto_proto.events import PlanEditAccepted, PlanFinished, TaskPlanned
from pto_proto.ids import EDIT_TASK, Digest
from pto_proto.plans import TaskSpec


def add_part(state: State, run: Run, entry: TaskPlanned) -> None:
    """One part of a plan is known."""
    plan = run.plans.setdefault(entry.plan_digest, PlanParts())
    plan.parts[entry.part] = entry.tasks
    if len(entry.seen_inputs) == len(entry.tasks):
        plan.seen[entry.part] = entry.seen_inputs
    _take_if_complete(state, run, entry.plan_digest)


def add_end(state: State, run: Run, entry: PlanFinished) -> None:
    """A plan's end is known. Raises IllegalEvent for an edited plan that nobody asked for."""
    if entry.task == EDIT_TASK and run.edit is None:
        raise IllegalEvent("PlanFinished for an edited plan, but nobody edited it")
    plan = run.plans.setdefault(entry.plan_digest, PlanParts())
    if plan.finished is None or plan.finished.task != EDIT_TASK:
        plan.finished = entry
    _take_if_complete(state, run, entry.plan_digest)


def begin_edit(run: Run, edit: PlanEditAccepted) -> None:
    """The plan that waits is replaced: there is one more task of the system, which writes the edited plan down.

    Raises IllegalEvent if none waits.
    """
    if run.phase is not RunPhase.AWAITING_APPROVAL:
        raise IllegalEvent(f"run {run.id} is {run.phase.value}; its plan cannot be edited")
    # The plan's tasks come again as TaskPlanned, as those of a request do.
    run.edit = msgspec.structs.replace(edit, plan=None)
    run.system[EDIT_TASK] = Task(TaskSpec(id=EDIT_TASK, title="Write down the edited plan"), -1, 0)


def _take_if_complete(state: State, run: Run, digest: Digest) -> None:
    plan = run.plans[digest].finished
    if plan is None or not run.plans[digest].complete:
        return
    if run.plan is None:
        run.plan = plan
        if run.request.approve and run.phase is RunPhase.PLANNING:
            enter(state, run, RunPhase.AWAITING_APPROVAL)
    elif plan.task == EDIT_TASK and run.plan.task != EDIT_TASK:
        run.plan = plan
    if run.plan is plan and (made := run.system.get(plan.task)) is not None:
        drop(run, made, TaskTrigger.SKIPPED)  # nobody makes it again; who was just handed it out is stopped
