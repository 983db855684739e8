"""The promises, judged when the world has come to rest; those that the log breaks on its way are the judge's.

Each checker takes the world and yields one sentence per broken promise.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from pto_core.fold import evolve
from pto_core.snapshot import dump
from pto_core.state import State
from pto_proto.envelope import decode_event, decode_request
from pto_proto.ids import RunId
from pto_proto.requests import RunRequested
from pto_scheduler.scheduler import Scheduler

from .stories import INFRA_BOUND, RunStory
from .undisturbed import outcome_of
from .world import World


def acknowledged_is_stored(world: World) -> Iterator[str]:
    """Promise 1: what was acknowledged is in the log, where the answer said."""
    stored = world.log.store.stored()
    for messages, seq in world.acks:
        first = seq - len(messages)
        for at, message in enumerate(messages):
            if first + at >= len(stored) or stored[first + at].data != message.data:
                yield f"promise 1: {message.wire_id} was acknowledged at {seq} and is not there"


def requests_are_answered(world: World) -> Iterator[str]:
    """Promise 1: every request has an answer; only a run that is asked for again has none."""
    accepted: set[RunId] = set()
    for recorded in world.asked:
        _, request = decode_request(recorded.data)
        if isinstance(request, RunRequested) and request.run in accepted:
            continue
        if recorded.seq not in world.judge.answers:
            yield f"promise 1: request {recorded.seq} ({type(request).__name__}) was never answered"
        accepted.add(request.run)


def runs_end(world: World) -> Iterator[str]:
    """Promise 1: every accepted run ends."""
    for run, ask in world.asks.items():
        if ask.by == "again" and run in world.judge.refused:
            continue
        story = world.judge.runs.get(run)
        if story is None or not story.finished_seq:
            yield f"promise 1: {run} does not end{_whereabouts(story)}"


def _whereabouts(story: RunStory | None) -> str:
    if story is None:
        return ": it was never accepted"
    out = [f"{a.name[1]}.{a.name[3]} in {a.instance}" for a in story.out()]
    left = [name for name in story.order if not story.tasks[name].state]
    return f": out {out}, left {left}, paused {story.paused!r}, cancelling at {story.cancelling_seq}"


def ends_are_counted_right(world: World) -> Iterator[str]:
    """Promises 2, 6 and 10: the end states are those that the first word about each attempt calls for."""
    for run in world.judge.runs.values():
        if run.finished is None or run.is_poisoned:
            continue
        counts = Counter(run.tasks[name].state for name in run.order)
        if dict(counts) != run.finished.tasks:
            yield f"promise 10: {run.run} ended with {run.finished.tasks}, the log says {dict(counts)}"
        for name, story in run.tasks.items():
            own, infra = story.failures("task", "timeout"), story.failures("infra")
            if own > run.retries(name) + 1 or infra > INFRA_BOUND + 1:
                yield f"promise 10: {name} of {run.run} failed {own} times itself and {infra} times otherwise"


def states_are_alike(world: World) -> Iterator[str]:
    """Promise 7: the log folded from zero is what every scheduler knows at the same sequence."""
    for process in world.processes.values():
        if not process.life.is_dead:
            world.note_state(process)
    wanted: dict[int, list[tuple[str, bytes]]] = {}
    for who, seq, known in world.kept:
        wanted.setdefault(seq, []).append((who, known))
    state, empty = State(), dump(State())
    for recorded in world.log.store.stored():
        evolve(state, recorded.seq, decode_event(recorded.data))
        if state.seq in wanted:
            folded = dump(state)
            for who, known in wanted.pop(state.seq):
                if known != folded:
                    yield f"promise 7: {who} knows at {state.seq} what the log does not say: {_difference(known, folded)}"
    for seq, rest in wanted.items():
        for who, known in rest:
            if seq or known != empty:
                yield f"promise 7: {who} has seen {seq}, which the log does not have"


def _difference(one: bytes, other: bytes) -> str:
    mine, theirs = msgspec.msgpack.decode(one), msgspec.msgpack.decode(other)
    return _first_difference(mine, theirs) or "in bytes only"


def _first_difference(mine: Any, theirs: Any) -> str:
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return next((found for a, b in zip(mine, theirs, strict=True) if (found := _first_difference(a, b))), "")
    if isinstance(mine, bytes) and isinstance(theirs, bytes) and mine != theirs:
        return _first_difference(msgspec.msgpack.decode(mine), msgspec.msgpack.decode(theirs))
    return "" if mine == theirs else f"{mine!r:.200} / {theirs!r:.200}"


def standbys_know_all(world: World) -> Iterator[str]:
    """Everybody who is up has read the whole log by now."""
    for process in world.processes.values():
        if isinstance(process.service, Scheduler) and process.is_up and process.service.state.seq != world.log.size:
            yield f"promise 7: {process.name} stands at {process.service.state.seq} of {world.log.size}"


def outcomes_are_those_of_undisturbed_runs(world: World) -> Iterator[str]:
    """Promise 9: the outcome is that of the same run without any fault."""
    for run in world.judge.runs.values():
        if run.finished is None or run.is_poisoned or run.cancelling_seq or _depends_on_chance(run):
            continue
        ask = world.asks[run.run]
        status, digest = outcome_of(ask if run.edited is None else replace(ask, plan=run.edited))
        if (run.finished.status, run.finished.outcome_digest) != (status, digest):
            yield (
                f"promise 9: {run.run} ended as {run.finished.status} {run.finished.outcome_digest[:8]},"
                f" undisturbed as {status} {digest[:8]}"
            )


def _depends_on_chance(run: RunStory) -> bool:
    """Whether bad luck may have ended a task, or decided which tasks a failure still stopped."""
    if any(story.failures("infra") > INFRA_BOUND for story in run.tasks.values()):
        return True
    return run.is_stopped or bool(run.request.reuse or run.request.resumes)


CHECKERS: tuple[Callable[[World], Iterator[str]], ...] = (
    acknowledged_is_stored,
    requests_are_answered,
    runs_end,
    ends_are_counted_right,
    states_are_alike,
    standbys_know_all,
    outcomes_are_those_of_undisturbed_runs,
)
