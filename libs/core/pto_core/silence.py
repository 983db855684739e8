"""Silence: how long nobody has heard of a dispatcher instance, and what follows from it for its attempts.

Imports pto_proto and siblings only. Invariants: silence counts only while the judge itself was awake and could hear;
silence makes an attempt unknown, and lost only where the rule of its lane says so.
"""

from collections.abc import Iterator, Mapping

from pto_core.limits import (
    AWAY_S,
    DOCKER_LOST_S,
    LOCAL_LOST_S,
    MAX_NAP_S,
    UNCONFIRMED_S,
)
from pto_core.state import LaneState, Run, State, Task
from pto_core.transitions import RunPhase
from pto_proto import events as ev
from pto_proto.ids import LANE_CONSOLIDATOR, LANE_LOCAL, LANE_PLANNER, InstanceId, Lane

Place = tuple[Lane, InstanceId]
Silent = Mapping[Place, float]
"""Instance -> seconds without a sign of life; only those of ``AWAY_S`` and more are in it."""

_DIE_WITH_THEIR_DISPATCHER = frozenset({LANE_LOCAL, LANE_PLANNER, LANE_CONSOLIDATOR})
_DOCKER = "docker"


class Watch:
    """The judge's memory of signs of life, on a clock that runs only while the judge is awake and can hear."""

    def __init__(self) -> None:
        self._awake_s = 0.0
        self._looked_at: float | None = None
        self._heard: dict[Place, tuple[float, str]] = {}
        self._floor = 0.0
        """No silence began before this moment of the awake clock."""

    def hear(self, lane: Lane, instance: InstanceId, incarnation: str) -> None:
        """A sign of life."""
        self._heard[lane, instance] = (self._awake_s, incarnation)

    def look(self, monotonic_s: float, *, can_hear: bool) -> None:
        """The judge is awake now. If it slept since the last look, or was deaf, everybody's silence starts anew."""
        last, self._looked_at = self._looked_at, monotonic_s if can_hear else None
        nap = None if last is None else monotonic_s - last
        if nap is None or not can_hear or nap > MAX_NAP_S:
            self._floor = self._awake_s
            return
        self._awake_s += nap

    def silent(self, state: State) -> dict[Place, float]:
        """The known instances that were silent for ``AWAY_S`` and more; another incarnation's signs do not count."""
        found: dict[Place, float] = {}
        for lane, known in state.lanes.items():
            for name, instance in known.instances.items():
                if instance.draining and not known.in_use.get(name):
                    continue  # it left in order
                heard = self._heard.get((lane, name))
                if heard is None or heard[1] != instance.incarnation:
                    # Never heard of in this incarnation: its silence starts when the judge first looks for it.
                    heard = self._heard[lane, name] = (self._awake_s, instance.incarnation)
                silence = self._awake_s - max(heard[0], self._floor)
                if silence >= AWAY_S:
                    found[lane, name] = silence
        return found


def judge(state: State, silent: Silent, now: int) -> Iterator[tuple[Lane, Run, ev.Entry]]:
    """What the silence of these instances means for the attempts they have out."""
    for run in state.active.values() if silent else ():
        for task in run.open.values():
            lane = run.lane_of(task)
            silence = silent.get((lane, task.instance or InstanceId("")))
            if silence is None or task.instance is None:
                continue
            identity = {"task": task.spec.id, "attempt": task.attempt, "round": task.round, "instance": task.instance}
            if _is_lost(lane, silence, state.lanes[lane], task, silent):
                reason = f"dispatcher {task.instance} gave no sign of life for {silence:.0f} s"
                yield lane, run, ev.AttemptLost(at=now, reason=reason, **identity)  # type: ignore[arg-type]
            elif not task.unknown:
                yield lane, run, ev.AttemptUnknown(at=now, **identity)  # type: ignore[arg-type]


def unconfirmed(run: Run, silent: Silent) -> tuple[str, ...] | None:
    """What a cancelled run has to list as possibly still running; None while an end may yet be confirmed."""
    for task in run.open.values():
        silence = silent.get((run.lane_of(task), task.instance or InstanceId("")), 0.0)
        if run.phase is not RunPhase.CANCELLING or not task.stopping or silence < UNCONFIRMED_S:
            return None
    names = [f"{task.spec.id}.{task.attempt}" for task in run.open.values()]
    return tuple(sorted({*names, *(f"{lost.task}.{lost.attempt}" for lost in run.lost)}))


def _is_lost(lane: Lane, silence: float, known: LaneState, task: Task, silent: Silent) -> bool:
    if lane in _DIE_WITH_THEIR_DISPATCHER:
        return silence >= LOCAL_LOST_S
    if lane.split("-")[0] == _DOCKER:
        others = (name for name in known.instances if name != task.instance and (lane, name) not in silent)
        return silence >= DOCKER_LOST_S and next(others, None) is not None
    return False  # a cluster's job is lost by the relay's word or a person's only
