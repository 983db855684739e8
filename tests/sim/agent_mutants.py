"""Deliberate bugs in what concerns agents: rounds, money, rests of models, scopes, and reviews of plans."""

from collections.abc import Callable
from typing import Any

import msgspec

from pto_core import (
    allowance,
    decide,
    fold,
    hand_out,
    money,
    movements,
    planning,
    reopening,
    rests,
    scopes,
    state,
)
from pto_core import intake as answers
from pto_core.keys import key_of, key_parts
from pto_core.state import Task
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto import requests as rq

from .breaking import handle, mutant, put

# --- rounds ----------------------------------------------------------------------------------------------------------


@mutant
def reopened_task_keeps_its_key() -> None:
    def key(run: Any, task: Task) -> Any:
        outputs = {name: run.tasks[run.index[name]].tree for name in task.spec.depends_on} if task.index >= 0 else {}
        return key_of(key_parts(run, task.spec, outputs, task.inputs))

    put(hand_out, "task_key", key)


@mutant
def third_round() -> None:
    put(reopening, "MAX_ROUNDS", 3)


@mutant
def what_saw_a_change_never_runs_again() -> None:
    honest = reopening.spread

    def settle(run: Any, task: Task) -> None:
        if task.spec.id in run.revoked:
            run.revoked[task.spec.id] = task.tree
        honest(run, task)

    put(fold, "spread", settle)


@mutant
def what_saw_no_change_runs_again() -> None:
    honest = reopening.spread

    def settle(run: Any, task: Task) -> None:
        if task.spec.id in run.revoked:
            run.revoked[task.spec.id] = "another"
        honest(run, task)

    put(fold, "spread", settle)


@mutant
def what_runs_again_does_not_wait_for_all_above_it() -> None:
    honest = reopening.reopen

    def reopen(state: Any, run: Any, task: Task, entry: ev.TaskReopened) -> None:
        honest(state, run, task, entry)
        for name in run.review:
            run.task(name).unmet = 1

    put(fold, "reopen", reopen)


@mutant
def what_cannot_run_again_stays_done() -> None:
    put(reopening, "_abandon", lambda run, task: run.revoked.clear() or run.review.clear())


@mutant
def late_result_of_an_earlier_round_counts() -> None:
    honest = fold._on_finished

    def finished(at: Any, entry: ev.TaskFinished) -> None:
        task = at.task(entry)
        if entry.round < task.round and task.is_open:
            entry = msgspec.structs.replace(entry, round=task.round, attempt=task.attempt)
        honest(at, entry)

    handle(ev.TaskFinished, finished)


@mutant
def evidence_is_forgotten() -> None:
    honest = hand_out._ready
    put(hand_out, "_ready", lambda *given: msgspec.structs.replace(honest(*given), evidence=""))


# --- money, rests and scopes --------------------------------------------------------------------------------------------


@mutant
def limit_of_cost_is_not_looked_at() -> None:
    put(money.Money, "left", property(lambda self: None))


@mutant
def money_of_this_tick_is_forgotten() -> None:
    honest = allowance.Allowance.take

    def take(self: Any, task: Task, *, asks_model: bool) -> tuple[int, int]:
        found = honest(self, task, asks_model=asks_model)
        self._reserved = 0
        return found

    put(allowance.Allowance, "take", take)


@mutant
def unknown_costs_count_as_nothing() -> None:
    honest = money.Money.settle
    put(money.Money, "settle", lambda self, reserved, cost: honest(self, reserved, cost or 0))


@mutant
def lost_attempt_gives_its_money_back() -> None:
    honest = movements.settle

    def settle(state: Any, run: Any, task: Task, ended: Any) -> None:
        if ended is None:
            run.money.reserved -= task.reserved
            task.reserved = 0
        else:
            honest(state, run, task, ended)

    put(fold, "settle", settle)


@mutant
def what_a_model_asks_for_is_ignored() -> None:
    honest = rests.Rest.note
    put(rests.Rest, "note", lambda self, reason, retry_after_s: honest(self, reason, 0.0))


@mutant
def first_wait_counts_instead_of_the_latest() -> None:
    honest = rests.Rest.note

    def note(self: Any, reason: str, retry_after_s: float) -> None:
        if self.until is None and not self.short_of:
            honest(self, reason, retry_after_s)

    put(rests.Rest, "note", note)


@mutant
def rest_of_a_model_stops_nobody() -> None:
    put(
        state.LaneState,
        "resting",
        lambda self, model="": self.rests.get("") if "" in self.rests and self.rests[""].holds else None,
    )


@mutant
def rest_ends_too_early() -> None:
    honest = rests.Rest.begin
    put(rests.Rest, "begin", lambda self, reason, until, at: honest(self, reason, until - 3_000, at))


@mutant
def scopes_are_not_looked_at() -> None:
    put(allowance, "overlap", lambda one, other: False)


@mutant
def scopes_of_this_tick_are_forgotten() -> None:
    put(allowance.Allowance, "_taken", lambda self: [t.spec.writes for t in self.run.open.values() if t.spec.agent])


@mutant
def no_scope_means_nothing() -> None:
    honest = scopes.overlap
    put(allowance, "overlap", lambda one, other: bool(one and other) and honest(one, other))


# --- the review of plans ---------------------------------------------------------------------------------------------


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
