"""Who gets the next attempt: list scheduling under the budgets of runs and the capacities of instances.

Imports pto_proto and siblings only. Invariants: never more than ``max_executors`` attempts of a run are out, never more
than an instance's capacity in that instance; among runs the one with the fewest attempts out is served first, and no
lane waits for another one. What a run may have beside that (money, files that only one agent may write) is the
business of ``allowance``.
"""

from collections import deque
from collections.abc import Container, Iterator
from heapq import heapify, heappop, heapreplace
from itertools import islice

from pto_core.allowance import Allowance
from pto_core.keys import task_key
from pto_core.lanes import containers, placed
from pto_core.limits import MAX_HAND_OUT, MAX_PASSED_OVER
from pto_core.money import FIRST_ESTIMATES, Estimates, dollars
from pto_core.state import LaneState, Run, State, Task
from pto_core.transitions import RunPhase
from pto_proto.envelope import MAX_ENTRIES
from pto_proto.events import RunPaused, TaskReady
from pto_proto.ids import EDIT_TASK, MERGE_TASK, NO_DIGEST, PLAN_TASK, InstanceId, Lane

SYSTEM_ABILITIES = {PLAN_TASK: "plan", EDIT_TASK: "edit", MERGE_TASK: "merge"}
"""What an instance must announce for each of the system's own tasks."""


def hand_out(
    state: State, now: int, alive: Container[tuple[Lane, InstanceId]], estimates: Estimates = FIRST_ESTIMATES
) -> Iterator[tuple[Lane | None, Run, TaskReady | RunPaused]]:
    """The attempts to hand out now, most urgent first, at most ``MAX_HAND_OUT``; and only to who is ``alive``. A run
    whose limit of cost leaves nothing for the next attempt, and with nothing out that could change that, is paused.

    Lanes are served by turns, whoever got nothing for longest first. If a single run waits, they are as many as one
    message per lane takes: one message is stored for a fifth of what a batch costs, and the dispatcher starts them
    while the next ones are handed out.
    """
    rooms = {name: room for name, lane in state.lanes.items() if (room := _Room(name, lane, alive)).left}
    waiting: dict[Lane, list[_Waiting]] = {}
    allowances: dict[str, Allowance] = {}
    for name in state.hungry if rooms else ():
        run = state.active[name]
        allowances[name] = Allowance(run, estimates)
        for lane in waiting_lanes(run, now) & rooms.keys():
            waiting.setdefault(lane, []).append(_Waiting(run, lane, now))
    is_alone = len({run.run.id for runs in waiting.values() for run in runs}) == 1
    left = MAX_ENTRIES * len(waiting) if is_alone else MAX_HAND_OUT
    longest_ago = sorted(waiting, key=lambda lane: (state.lanes[lane].last_hand_out, lane))
    turns = deque((lane, _serve(lane, rooms[lane], waiting[lane], allowances, now)) for lane in longest_ago)
    while turns and left:
        lane, served = turns.popleft()
        found = next(served, None)
        if found is not None:
            turns.append((lane, served))
            run, entry = found
            yield (lane if isinstance(entry, TaskReady) else None), run, entry
            left -= 1


class _Waiting:
    """The tasks of one run that wait in one lane, most urgent first."""

    def __init__(self, run: Run, lane: Lane, now: int) -> None:
        self.run = run
        self.out = len(run.open)
        """Attempts out, as far as is known here: those of other lanes count when its turn comes."""
        self.tasks = islice(_urgent_first(run, lane, now), run.max_executors + MAX_PASSED_OVER)

    def __lt__(self, other: "_Waiting") -> bool:
        return (self.out, self.run.last_hand_out, self.run.accepted_seq) < (
            other.out,
            other.run.last_hand_out,
            other.run.accepted_seq,
        )


class _Room:
    """Free places of the lane's instances by what they can run."""

    def __init__(self, name: Lane, lane: LaneState, alive: Container[tuple[Lane, InstanceId]]) -> None:
        self._lane = lane
        self.free = {
            instance: known.capacity - lane.in_use.get(instance, 0)
            for instance, known in lane.instances.items()
            if not known.draining and (name, instance) in alive
        }
        if lane.resting() is not None:
            self.free = {}
        self.left = sum(count for count in self.free.values() if count > 0)

    def find(self, ability: str, model: str) -> InstanceId | None:
        """The emptiest instance that has this ability, unless the model that is needed rests."""
        if model and self._lane.resting(model) is not None:
            return None
        best, most = None, 0
        for name, count in self.free.items():
            if count > most and ability in self._lane.instances[name].can_run:
                best, most = name, count
        return best

    def take(self, instance: InstanceId) -> None:
        """One of its places is taken."""
        self.free[instance] -= 1
        self.left -= 1


def _serve(
    lane: Lane, room: _Room, runs: list[_Waiting], allowances: dict[str, Allowance], now: int
) -> Iterator[tuple[Run, TaskReady | RunPaused]]:
    heapify(runs)
    while runs and room.left:
        waiting = runs[0]
        run, allowance = waiting.run, allowances[waiting.run.id]
        if waiting.out != allowance.out:
            waiting.out = allowance.out
            heapreplace(runs, waiting)
            continue
        task = next(waiting.tasks, None) if allowance.left > 0 and not allowance.must_ask else None
        if task is None:
            heappop(runs)
            continue
        model = run.model_of(task)
        instance = room.find(ability_for(run, task), model)
        if instance is None:
            continue
        if model and not allowance.lets(task):
            if allowance.must_ask:
                yield run, RunPaused(at=now, kind="budget", reason=allowance.reason_to_ask(task))
            if allowance.is_closed and run.has_only_agents:
                heappop(runs)
            continue
        room.take(instance)
        slot, reserved = allowance.take(task, asks_model=bool(model))
        yield run, _ready(run, lane, task, instance, slot, reserved, now)


def ability_for(run: Run, task: Task) -> str:
    """What an instance must be able to run for this task, in the words of DispatcherUp."""
    if task.index < 0:
        return SYSTEM_ABILITIES[task.spec.id]
    if task.spec.noop:
        return "noop"
    return f"agent:{run.request.engine}" if task.spec.agent else "command"


def waiting_lanes(run: Run, now: int) -> set[Lane]:
    """The lanes in which the run, if it ``may_be_handed_out``, has something for a dispatcher."""
    lanes = {lane for lane, ready in run.ready.items() if ready} if run.phase is RunPhase.RUNNING else set()
    lanes |= {run.lane_of(task) for task in _due(run, now)}
    system = run.waiting_system_task
    return lanes | {run.lane_of(system)} if system is not None else lanes


def _due(run: Run, now: int) -> Iterator[Task]:
    """Tasks whose retry may start, the one that is due for longest first."""
    for moment, name in run.due:
        if moment > now:
            return
        task = run.task(name)
        if task is not None:
            yield task


def _urgent_first(run: Run, lane: Lane, now: int) -> Iterator[Task]:
    """Retries that are due come before first attempts: others have waited for them longest."""
    system = run.waiting_system_task
    if system is not None and run.lane_of(system) == lane:
        yield system
    yield from [task for task in _due(run, now) if run.lane_of(task) == lane]
    if run.phase is RunPhase.RUNNING:
        by_rank = run.graph.by_rank
        for rank in reversed(run.ready.get(lane, ())):
            yield run.tasks[by_rank[rank]]


def _ready(run: Run, lane: Lane, task: Task, instance: InstanceId, slot: int, reserved: int, now: int) -> TaskReady:
    spec = task.spec
    seen = (run.tasks[run.index[name]].tree for name in spec.depends_on) if task.index >= 0 else ()
    trees = tuple(dict.fromkeys(tree for tree in seen if tree))
    planned = run.plan if task.index >= 0 else None
    inputs = planned.inputs if planned is not None else ()
    reopened = run.reopened.get(spec.id)
    return TaskReady(
        at=now,
        cause=run.accepted_seq,
        task=spec.id,
        attempt=task.attempt + 1,
        round=task.round,
        instance=instance,
        slot=slot,
        key=task_key(run, task),
        spec=placed(run.request, spec, task.again),
        avoid=run.nodes.avoided.get(lane, ()),
        docker=containers(run.request, lane),
        trees=trees,
        inputs_digest=run.request.inputs_digest if spec.inputs or inputs else NO_DIGEST,
        inputs=inputs,
        requirement=run.request.requirement if spec.agent else "",
        engine=run.request.engine,
        model=run.request.model if run.model_of(task) else "",
        reserved_usd=dollars(reserved),
        on_conflict=run.request.on_conflict,
        sandbox=run.request.sandbox,
        evidence=reopened.evidence if reopened is not None else "",
    )
