"""How much one requester may ask for: requests and bytes in a minute, tasks in a run; and who may change a run.

Imports pto_proto and siblings only. Invariants: what counts is in the log, so every scheduler counts the same; an
operator is not counted, so that somebody can always stop a run. Minutes are those of the clock: whoever asks at the
end of one and the beginning of the next gets twice the quota at once, and no more.
"""

import msgspec

from pto_core.limits import MAX_TASKS, REQUEST_BYTES_PER_MINUTE, REQUESTS_PER_MINUTE
from pto_core.state import Run, State
from pto_proto import events as ev
from pto_proto.ids import is_operator
from pto_proto.plans import Problem

MINUTE_MS = 60_000
QUOTA = "quota"
"""``where`` of a refusal that is no fault of the request."""


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """What each requester has; an operator chooses it."""

    requests_per_minute: int = REQUESTS_PER_MINUTE
    bytes_per_minute: int = REQUEST_BYTES_PER_MINUTE
    tasks_per_run: int = MAX_TASKS
    """Of plans that requesters bring or edit; those that are made here are bounded by the engine that makes them."""


USUAL = Quotas()


def note_answer(state: State, entry: ev.AnswerEntry) -> None:
    """Fold what an answer says of the front door: how far it was read, and what its requester has used."""
    state.request_seq = max(state.request_seq, entry.request_seq)
    state.now = max(state.now, entry.at)
    if not entry.requester or is_operator(entry.requester):
        return
    if state.now // MINUTE_MS > state.minute:
        state.minute = state.now // MINUTE_MS
        state.asked.clear()
        state.asked_bytes.clear()
    state.asked[entry.requester] = state.asked.get(entry.requester, 0) + 1
    state.asked_bytes[entry.requester] = state.asked_bytes.get(entry.requester, 0) + entry.request_bytes


class Counter:
    """What is left to each requester in one tick, whose answers are not folded yet."""

    def __init__(self, state: State, quotas: Quotas, now: int) -> None:
        is_same = now // MINUTE_MS == state.minute
        self._quotas = quotas
        self._wait_s = (MINUTE_MS - now % MINUTE_MS + 999) // 1000
        self._asked = dict(state.asked) if is_same else {}
        self._bytes = dict(state.asked_bytes) if is_same else {}

    def over(self, requester: str, size: int) -> Problem | None:
        """Count one request of this size; why it is too much, if it is."""
        if not requester or is_operator(requester):
            return None
        asked = self._asked[requester] = self._asked.get(requester, 0) + 1
        used = self._bytes[requester] = self._bytes.get(requester, 0) + size
        quotas = self._quotas
        if asked > quotas.requests_per_minute:
            used_up = f"{quotas.requests_per_minute} requests"
        elif used > quotas.bytes_per_minute:
            used_up = f"{quotas.bytes_per_minute} bytes of requests"
        else:
            return None
        what = f"{requester} may ask for {used_up} in a minute and has; ask again in {self._wait_s} s"
        return Problem(where=QUOTA, what=what)


def too_many_tasks(quotas: Quotas, count: int) -> Problem | None:
    """Why a plan of this many tasks is refused, if it is."""
    if count <= quotas.tasks_per_run:
        return None
    what = f"the plan has {count} tasks and a run may have {quotas.tasks_per_run} here; split it, or ask an operator"
    return Problem(where=QUOTA, what=what)


def not_theirs(run: Run, requester: str) -> Problem | None:
    """Why this requester may not change the run, if so. Who asked for runs of before is not known: anybody may."""
    if not run.requester or requester == run.requester or is_operator(requester):
        return None
    what = f"run {run.id} is {run.requester}'s; only {run.requester} or an operator may change it"
    return Problem(where="requester", what=what)
