"""The answers to requests: what the scheduler writes for each message of ``PTO_REQ``.

Imports pto_proto and siblings only. Invariant: each request is answered by at most one entry, which names the request
and its sequence; a request that cannot be granted touches no run.
"""

from collections.abc import Iterator, Sequence

import msgspec

from pto_core.decide import Decision
from pto_core.limits import MAX_EXECUTORS, MAX_REASON, MAX_SHOWN
from pto_core.money import bad_limit
from pto_core.quotas import USUAL, Quotas, not_theirs, too_many_tasks
from pto_core.state import Run, State
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto import requests as rq
from pto_proto.ids import NO_DIGEST, Digest, RunId, digest_of, is_run_id
from pto_proto.plans import Problem
from pto_proto.subjects import kind_of


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it was taken from the queue; ``problems`` are what checking its content found."""

    seq: int
    request_id: str
    requester: str = ""
    """Who asked; empty where nobody is told apart."""
    size: int = 0
    request: rq.AnyRequest
    problems: tuple[Problem, ...] = ()
    task_count: int = 0
    edited: Digest = NO_DIGEST
    """Digest of the plan that an approval brings, as the planner will write it down."""


def bounded(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems, cut so that an answer always fits a message, whatever was asked."""
    return tuple(Problem(where=problem.where[:MAX_SHOWN], what=problem.what[:MAX_REASON]) for problem in problems)


def content_digest(request: rq.RunRequested) -> Digest:
    """Digest of what is asked for: two requests with the same one ask for the same run."""
    return digest_of(msgspec.json.encode(request, order="sorted"))


def answer(state: State, asked: Asked, now: int, quotas: Quotas = USUAL) -> Decision | None:
    """The entry that answers this request; None if nothing is to be said (the same run asked for again)."""
    request = asked.request
    if isinstance(request, rq.RunRequested):
        return _answer_run(state, asked, request, now, quotas)
    run = state.runs.get(request.run)
    if run is None:
        shown = repr(request.run[:MAX_SHOWN])
        what = f"run {shown} was archived" if request.run in state.archived else f"there is no run {shown}"
        return refuse(asked, now, [Problem(where="run", what=what)])
    if run.ended:
        return refuse(asked, now, [Problem(where="run", what=f"run {run.id} has ended as {run.phase.value}")])
    if (problem := not_theirs(run, asked.requester) or too_many_tasks(quotas, asked.task_count)) is not None:
        return refuse(asked, now, [problem])
    if isinstance(request, rq.PlanApproved | rq.PlanRejected):
        change = _settle(run, asked, request, now)
    else:
        change = _change(state, asked, now)
    if isinstance(change, ev.AnswerEntry):
        return Decision(None, run.id, _signed(change, asked))
    return refuse(asked, now, [change] if isinstance(change, Problem) else [*change])


def refuse(asked: Asked, now: int, problems: list[Problem]) -> Decision:
    """The refusal of a request, on its run's subject so that the requester finds it there."""
    run = asked.request.run if is_run_id(asked.request.run) else None
    entry = ev.RequestRefused(
        at=now,
        request_id=asked.request_id[:MAX_SHOWN],
        request_seq=asked.seq,
        kind=kind_of(type(asked.request)),
        reasons=bounded(problems),
    )
    return Decision(None, RunId(run) if run else None, _signed(entry, asked))


def _signed(entry: ev.AnswerEntry, asked: Asked) -> ev.AnswerEntry:
    """The answer, with who asked."""
    if not asked.requester:
        return entry
    return msgspec.structs.replace(entry, requester=asked.requester[:MAX_SHOWN], request_bytes=asked.size)


def _answer_run(state: State, asked: Asked, request: rq.RunRequested, now: int, quotas: Quotas) -> Decision | None:
    digest = content_digest(request)
    known = state.runs.get(request.run)
    taken = known.content_digest if known is not None else state.archived.get(request.run)
    if taken is not None:
        if taken == digest:
            return None
        what = "this run id is taken by a run with other content; ask with a new id"
        return refuse(asked, now, [Problem(where="run", what=what)])
    problems = [*asked.problems, *_check_resumed(state, request)]
    if (too_many := too_many_tasks(quotas, asked.task_count)) is not None:
        problems.append(too_many)
    if problems:
        return refuse(asked, now, problems)
    entry = ev.RunAccepted(
        at=now,
        request_id=asked.request_id,
        request_seq=asked.seq,
        content_digest=digest,
        request=request,
        task_count=asked.task_count,
    )
    return Decision(None, request.run, _signed(entry, asked))


def _check_resumed(state: State, request: rq.RunRequested) -> Iterator[Problem]:
    """What speaks against continuing the run that the request names."""
    if not request.resumes or not is_run_id(request.resumes):
        return
    earlier = state.runs.get(RunId(request.resumes))
    if earlier is None and not request.reuse_digest:
        name = request.resumes
        gone = f"run {name!r} was archived" if name in state.archived else f"there is no run {name!r} in this log"
        what = f"{gone}; leave it out, or store a list of what it left behind"
        yield Problem(where="resumes", what=what)
    elif earlier is not None and not earlier.ended:
        what = f"run {earlier.id} has not ended, it is {earlier.phase.value}; ask to resume it as it is"
        yield Problem(where="resumes", what=what)


def _change(state: State, asked: Asked, now: int) -> ev.AnswerEntry | Problem:
    """The answer to a request about a run that goes on, or why it is refused."""
    request, run = asked.request, state.runs[asked.request.run]
    request_id, seq = asked.request_id, asked.seq
    match request:
        case rq.RunCancelRequested():
            if run.phase is RunPhase.CANCELLING:
                return Problem(where="run", what=f"run {run.id} is being cancelled already")
            return ev.RunCancelling(at=now, request_id=request_id, request_seq=seq, reason=request.reason)
        case rq.RunPauseRequested():
            if run.phase is RunPhase.CANCELLING:
                return Problem(where="run", what=f"run {run.id} is being cancelled")
            if run.paused is not None:
                return Problem(where="run", what=f"run {run.id} is paused already: {run.paused.reason or 'on request'}")
            return ev.RunPaused(at=now, request_id=request_id, request_seq=seq, kind="asked", reason=request.reason)
        case rq.RunResumeRequested():
            if run.paused is None:
                return Problem(where="run", what=f"run {run.id} is not paused")
            if run.paused.kind == "poisoned":
                return Problem(where="run", what=f"run {run.id} holds an event that does not fit; it cannot go on")
            return ev.RunResumed(at=now, request_id=request_id, request_seq=seq)
        case rq.BudgetChangeRequested():
            return _budget(run, asked, request, now)
        case _:
            return Problem(where="type", what="this request cannot be answered by this version")


def _budget(run: Run, asked: Asked, request: rq.BudgetChangeRequested, now: int) -> ev.AnswerEntry | Problem:
    executors, cost = request.max_executors, request.max_cost_usd
    if executors is None and cost is None:
        return Problem(where="max_executors", what="nothing is to be changed; name max_executors or max_cost_usd")
    if executors is not None and not 1 <= executors <= MAX_EXECUTORS:
        return Problem(where="max_executors", what=f"must be 1 to {MAX_EXECUTORS}, not {executors}")
    if cost is not None and (wrong := bad_limit(cost)):
        return Problem(where="max_cost_usd", what=wrong)
    return ev.BudgetChanged(
        at=now,
        request_id=asked.request_id,
        request_seq=asked.seq,
        max_executors=run.max_executors if executors is None else executors,
        max_cost_usd=cost,
    )


def _settle(
    run: Run, asked: Asked, request: rq.PlanApproved | rq.PlanRejected, now: int
) -> ev.AnswerEntry | Problem | Sequence[Problem]:
    """What a person's word about the plan comes to. An edited plan is taken now and settled when it is written down."""
    if run.phase is not RunPhase.AWAITING_APPROVAL or run.plan is None:
        return Problem(where="run", what=f"run {run.id} does not wait for approval; it is {run.phase.value}")
    if run.edit is not None:
        return Problem(where="run", what=f"the plan of run {run.id} was edited already; the edited one runs next")
    if run.plan.plan_digest != request.plan_digest:
        what = f"another plan waits for approval: {run.plan.plan_digest}, not {request.plan_digest[:MAX_SHOWN]!r}"
        return Problem(where="plan_digest", what=what)
    if asked.problems:
        return asked.problems
    if asked.edited not in (NO_DIGEST, run.plan.plan_digest) and isinstance(request, rq.PlanApproved):
        return ev.PlanEditAccepted(
            at=now,
            request_id=asked.request_id,
            request_seq=asked.seq,
            plan_digest=request.plan_digest,
            plan=request.plan,
            edited_digest=request.edited_digest,
            task_count=asked.task_count,
        )
    return ev.PlanSettled(
        at=now,
        request_id=asked.request_id,
        request_seq=asked.seq,
        plan_digest=request.plan_digest,
        decision="approved" if isinstance(request, rq.PlanApproved) else "rejected",
        reason=request.reason[:MAX_REASON] if isinstance(request, rq.PlanRejected) else "",
    )
