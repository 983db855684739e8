"""Silence: how long nobody has heard of a dispatcher instance, and what follows from it for its attempts.

Imports pto_proto and siblings only. Invariants: silence counts only while the judge itself was awake and could hear;
silence makes an attempt unknown, and lost only where the rule of its lane says so; nothing is handed to an instance
that has not been heard of lately.
"""

from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from pto_core.limits import AWAY_S, DOCKER_LOST_S, LOCAL_LOST_S, MAX_NAP_S, UNCONFIRMED_S
from pto_core.state import Attempt, LaneState, Run, State, Task
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto.ids import LANE_CONSOLIDATOR, LANE_DOCKER, LANE_LOCAL, LANE_PLANNER, InstanceId, Lane

Place = tuple[Lane, InstanceId]
Silent = Mapping[Place, float]
"""Instance -> seconds without a sign of life; only those of ``AWAY_S`` and more are in it."""

_DIE_WITH_THEIR_DISPATCHER = frozenset({LANE_LOCAL, LANE_PLANNER, LANE_CONSOLIDATOR})


class _Everybody:
    def __contains__(self, place: object) -> bool:
        return True


class Heard(NamedTuple):
    """What the judge has heard. Without a judge everybody is alive and nobody silent."""

    silent: Silent = {}
    alive: Container[Place] = _Everybody()
    """Instances that gave a sign of life less than ``AWAY_S`` ago, as their present incarnation."""


class Watch:
    """The judge's memory of signs of life, on a clock that runs only while the judge is awake and can hear."""

    def __init__(self) -> None:
        self._awake_s = 0.0
        self._looked_at: float | None = None
        self._signs: dict[tuple[Lane, InstanceId, str], float] = {}
        """(lane, instance, incarnation) -> moment of its last sign of life."""
        self._missed: dict[tuple[Lane, InstanceId, str], float] = {}
        """The same for who was never heard of -> moment since when it is missed."""
        self._floor = 0.0
        """No silence began, and no sign of life proves anything, before this moment of the awake clock."""

    def hear(self, lane: Lane, instance: InstanceId, incarnation: str) -> bool:
        """A sign of life; whether it is the first one for long."""
        name = (lane, instance, incarnation)
        is_first = not self._is_fresh(name)
        self._signs[name] = self._awake_s
        return is_first

    def look(self, monotonic_s: float, *, can_hear: bool) -> None:
        """The judge is awake now. If it slept since the last look, or was deaf, everybody's silence starts anew."""
        last, self._looked_at = self._looked_at, monotonic_s if can_hear else None
        nap = None if last is None else monotonic_s - last
        if nap is None or not can_hear or nap > MAX_NAP_S:
            # A step, so that what was heard before is told from what is heard from now on.
            self._awake_s += MAX_NAP_S
            self._floor = self._awake_s
            return
        self._awake_s += nap

    def heard(self, state: State) -> Heard:
        """Who of the known instances is silent and who alive; signs of another incarnation do not count."""
        silent: dict[Place, float] = {}
        alive: set[Place] = set()
        names = set()
        for lane, known in state.lanes.items():
            for instance, announced in known.instances.items():
                name = (lane, instance, announced.incarnation)
                names.add(name)
                if self._is_fresh(name):
                    alive.add((lane, instance))
                elif not announced.draining or known.in_use.get(instance):  # else it left in order
                    since = self._signs.get(name) or self._missed.setdefault(name, self._awake_s)
                    silence = self._awake_s - max(since, self._floor)
                    if silence >= AWAY_S:
                        silent[lane, instance] = silence
        for old in [name for name, moment in self._signs.items() if name not in names and not self._is_fresh(name)]:
            del self._signs[old]
        self._missed = {name: moment for name, moment in self._missed.items() if name in names}
        return Heard(silent, alive)

    def _is_fresh(self, name: tuple[Lane, InstanceId, str]) -> bool:
        moment = self._signs.get(name)
        return moment is not None and moment >= self._floor and self._awake_s - moment < AWAY_S


def judge(state: State, heard: Heard, now: int) -> Iterator[tuple[Lane, Run, ev.Entry]]:
    """What the silence of instances means for the attempts they have out."""
    for run in state.active.values() if heard.silent else ():
        for task in run.open.values():
            lane = run.lane_of(task)
            silence = heard.silent.get((lane, task.instance or InstanceId("")))
            if silence is None or task.instance is None:
                continue
            identity = {"task": task.spec.id, "attempt": task.attempt, "round": task.round, "instance": task.instance}
            if _is_lost(lane, silence, state.lanes[lane], task, heard):
                reason = f"dispatcher {task.instance} gave no sign of life for {silence:.0f} s"
                yield lane, run, ev.AttemptLost(at=now, reason=reason, **identity)  # type: ignore[arg-type]
            elif not task.unknown:
                yield lane, run, ev.AttemptUnknown(at=now, **identity)  # type: ignore[arg-type]


def unconfirmed(run: Run, heard: Heard) -> tuple[str, ...] | None:
    """What a cancelled run has to list as possibly still running; None while an end may yet be confirmed."""
    for task in run.open.values():
        silence = heard.silent.get((run.lane_of(task), task.instance or InstanceId("")), 0.0)
        if run.phase is not RunPhase.CANCELLING or not task.stopping or silence < UNCONFIRMED_S:
            return None
    out = (Attempt(task.spec.id, task.round, task.attempt) for task in run.open.values())
    return tuple(sorted({attempt.label for attempt in (*out, *run.lost)}))


def _is_lost(lane: Lane, silence: float, known: LaneState, task: Task, heard: Heard) -> bool:
    if lane in _DIE_WITH_THEIR_DISPATCHER:
        return silence >= LOCAL_LOST_S
    if lane == LANE_DOCKER:
        others = (name for name in known.instances if name != task.instance)
        can_take_over = any((lane, name) in heard.alive and not known.instances[name].draining for name in others)
        return silence >= DOCKER_LOST_S and can_take_over
    return False  # a cluster's job is lost by the relay's word or a person's only
