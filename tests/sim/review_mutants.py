"""Deliberate bugs in what becomes of a plan that a person reviews; imported for their names in ``MUTANTS``."""

from collections.abc import Callable
from typing import Any

import msgspec

from pto_core import decide, fold, planning
from pto_core import intake as answers
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto import requests as rq

from .mutants import MUTANTS, mutant, put

ALL_MUTANTS = MUTANTS
"""Those of the other module and these."""


def hear(change: Callable[[Any, Any, Any], tuple[Any, Any]]) -> None:
    """Misunderstand what a person says about a plan: ``change`` gets run, request as taken, and request."""
    honest = answers._settle

    def settle(run: Any, asked: Any, request: Any, now: int) -> Any:
        return honest(run, *change(run, asked, request), now)

    put(answers, "_settle", settle)


@mutant
def plan_runs_before_a_person_answers() -> None:
    honest = decide._settle

    def settle(run: Any, plan: Any, *rest: Any) -> Any:
        yield from honest(run, plan, *rest)
        if run.phase is RunPhase.AWAITING_APPROVAL and run.edit is None:
            yield None, ev.PlanSettled(at=rest[-1], plan_digest=plan.plan_digest)

    put(decide, "_settle", settle)


@mutant
def approval_of_another_plan_counts() -> None:
    def change(run: Any, asked: Any, request: Any) -> Any:
        if run.plan is None:
            return asked, request
        return asked, msgspec.structs.replace(request, plan_digest=run.plan.plan_digest)

    hear(change)


@mutant
def edited_plan_is_not_read() -> None:
    hear(lambda run, asked, request: (msgspec.structs.replace(asked, edited="", problems=()), request))


@mutant
def rejection_counts_as_approval() -> None:
    def change(run: Any, asked: Any, request: Any) -> Any:
        if isinstance(request, rq.PlanRejected):
            request = rq.PlanApproved(run=request.run, plan_digest=request.plan_digest)
        return asked, request

    hear(change)


@mutant
def first_plan_stays_although_it_was_edited() -> None:
    honest = planning.add_end

    def add_end(state: Any, run: Any, entry: Any) -> None:
        first = run.plan
        honest(state, run, entry)
        if run.plan is not first and first is not None:
            run.plan = msgspec.structs.replace(first, task=entry.task)

    put(fold, "add_end", add_end)
