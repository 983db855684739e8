"""What happens to a world: requests, and while the rage lasts, crashes, pauses and cuts at random moments.

Invariant: nothing new is broken when the rage is over, and what was broken then is mended within two minutes (a
dispatcher of containers or of a cluster may be away for longer); what people asked to pause is resumed, so that every
run can end.
"""

import asyncio
from collections.abc import Callable
from random import Random

import msgspec

from pto_proto.envelope import Event
from pto_proto.ids import Digest, RunId
from pto_proto.requests import (
    BudgetChangeRequested,
    RunCancelRequested,
    RunPauseRequested,
    RunResumeRequested,
)

from .approver import Approvers
from .plans import Ask
from .spending import MILLION
from .stories import RunStory
from .wires import Wire, at_once
from .world import Process, World

LOOK_S = 2.0
"""How often the person looks at the runs."""
NOTICED_S = 3.0
"""A connection that is cut for this long is made anew."""
REPEAT_S = 12.0
"""How long the person waits for an answer before asking again."""


class Storm:
    """Requests and disturbances of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"{world.seed}/storm")
        self._asked_at: dict[RunId, float] = {}
        self._asks_until = 0.0
        self._approvers = Approvers(world)
        self._is_over = False
        profile = world.profile
        self._acts: list[tuple[float, Callable[[str], None]]] = [
            (profile.crashes, self._crash),
            (profile.freezes, self._freeze),
            (profile.cuts, self._cut),
            (profile.chokes, self._choke),
            (profile.deaf, self._mute),
        ]

    def begin(self) -> None:
        """Put everything on the calendar."""
        world, random = self._world, self._random
        for ask in world.asks.values():
            request = ask.request
            if ask.by == "digest":
                data = msgspec.json.encode(ask.plan)
                request = msgspec.structs.replace(request, plan_digest=_stored(world, data))
            self._at(ask.at_s, world.ask, request)
            self._plan_requests(ask.run, ask.at_s)
            for delay, answer in self._approvers.too_early(ask):
                self._at(ask.at_s + delay, world.ask, answer)
        world.strangers.begin()
        profile = world.profile
        for rate, act in self._acts:
            moment = random.expovariate(rate / 60.0) if rate else profile.rage_s
            while moment < profile.rage_s:
                self._at(moment, self._hit, act)
                moment += random.expovariate(rate / 60.0)
        for name, (share, length) in world.places.aways.items():
            self._at(share * profile.rage_s, self._send_away, name, length)
        if profile.ambushes:
            world.on_event = self._lie_in_wait
        self._at(profile.rage_s, self._calm)

    def _plan_requests(self, run: RunId, at_s: float) -> None:
        world, random = self._world, self._random
        end = max(world.profile.rage_s, at_s + 1.0)
        self._asks_until = max(self._asks_until, end)
        if random.random() < world.profile.cancels:
            self._at(random.uniform(at_s, end), world.ask, RunCancelRequested(run=run, reason="enough"))
        if random.random() < world.profile.again:
            self._at(random.uniform(at_s, end), self._ask_again, world.asks[run])
        while random.random() < world.profile.pauses:
            moment = random.uniform(at_s, end)
            self._at(moment, world.ask, RunPauseRequested(run=run))
            self._at(moment + random.choice((0.0, 0.3, 5.0)), world.ask, RunResumeRequested(run=run))
        while random.random() < world.profile.budgets:
            change = BudgetChangeRequested(run=run, max_executors=random.choice((0, 1, 1, 2, 4)))
            self._at(random.uniform(at_s, end), world.ask, change)

    def _ask_again(self, first: Ask) -> None:
        """The same plan as a new run that takes over what the first one, or any other, has done already."""
        world, story = self._world, self._world.judge.runs.get(first.run)
        run = RunId(f"again-{len(world.asks):03d}")
        is_over = story is not None and story.finished_seq > 0
        request = msgspec.structs.replace(
            first.request,
            run=run, plan=first.plan, requirement="", on_failure="continue",
            resumes=first.run if is_over and self._random.random() < 0.6 else "", reuse=self._random.random() < 0.6,
        )  # fmt: skip
        world.asks[run] = Ask(request, first.plan, world.loop.time(), "again", first.behaviours, first.reds)
        world.ask(request)

    def _at(self, moment: float, act: object, *args: object) -> None:
        self._world.loop.call_at(moment, act, *args, context=self._world.outside)  # type: ignore[arg-type]

    # --- disturbances ---

    def _hit(self, act: Callable[[str], None]) -> None:
        """Anybody, or rather somebody who has work in hand."""
        world = self._world
        busy = {a.instance for run in world.judge.runs.values() if not run.finished_seq for a in run.out()}
        leader = world.judge.epoch[1].removeprefix("scheduler/")
        names = sorted({*busy, leader} & {*world.processes})
        if not names or self._random.random() < 0.3:
            names = list(world.processes)
        act(self._random.choice(names))

    def _lie_in_wait(self, event: Event) -> None:
        """Perhaps hit somebody in the very moment in which this is stored, or a moment later."""
        random, world = self._random, self._world
        if self._is_over or random.random() >= world.profile.ambushes:
            return
        concerned = ["scheduler-1", "scheduler-2"]
        if event.lane is not None:
            named = {getattr(entry, "instance", "") for entry in event.entries} & {*world.processes}
            concerned += sorted(named) or [f"{event.lane}-1"]
        act = random.choice([act for rate, act in self._acts if rate] or [self._crash])
        delay = random.choice((0.0, 0.0, 1.0, 2.0, 5.0)) * world.profile.network.latency_s
        world.loop.call_later(delay, act, random.choice(concerned), context=world.outside)

    def _length(self, short: tuple[float, ...], long: tuple[float, ...]) -> float:
        return self._random.choice(long if self._random.random() < self._world.profile.long else short)

    def _crash(self, name: str) -> None:
        process = self._world.processes[name]
        if process.is_up and not self._is_over:
            self._world.trace(f"{name}: killed")
            self._world.note_state(process)
            self._world.loop.kill(process.life)
            away = self._length((0.0, 0.2, 1.0, 4.0), (12.0, 40.0))
            self._world.loop.call_later(away, self._restart, process, context=self._world.outside)

    def _send_away(self, name: str, length: float) -> None:
        process = self._world.processes[name]
        if process.is_up:
            self._world.trace(f"{name}: killed, and away for {length} s")
            self._world.note_state(process)
            self._world.loop.kill(process.life)
            self._world.loop.call_later(length, self._restart, process, context=self._world.outside)

    def _restart(self, process: Process) -> None:
        if not process.is_up:
            self._world.start(process)

    def _freeze(self, name: str) -> None:
        world, life = self._world, self._world.processes[name].life
        if not life.is_stopped and not self._is_over:
            length = self._length((0.2, 1.0, 4.0, 7.0), (12.0, 36.0, 80.0))
            world.trace(f"{name}: stands still for {length} s")
            world.loop.stop_life(life)
            world.loop.call_later(length, self._let_go_on, name, context=world.outside)

    def _let_go_on(self, name: str) -> None:
        life = self._world.processes[name].life
        if life.is_stopped and not life.is_dead:
            self._world.trace(f"{name}: goes on")
            self._world.loop.let_go_on(life)

    def _cut(self, name: str) -> None:
        wire = self._world.processes[name].wire
        if not wire.is_cut and not self._is_over:
            length = self._length((0.5, 3.0, 8.0), (20.0, 40.0))
            self._world.trace(f"{name}: cut off for {length} s")
            self._deafen(wire, "is_cut", length)

    def _deafen(self, wire: Wire, flag: str, length: float) -> None:
        now = self._world.loop.time()
        setattr(wire, flag, True)
        wire.life.hearing.disturb(now, now + length, slept=True)
        wire.interruptions += length >= NOTICED_S
        self._world.loop.call_later(length, setattr, wire, flag, False, context=self._world.outside)

    def _choke(self, name: str) -> None:
        wire = self._world.processes[name].wire
        if not wire.is_choked and not self._is_over:
            length = self._length((1.0, 3.0, 8.0), (20.0, 40.0))
            self._world.trace(f"{name}: hears nothing for {length} s")
            self._deafen(wire, "is_choked", length)

    def _mute(self, name: str) -> None:
        wire = self._world.processes[name].wire
        if not self._is_over:
            length = self._length((5.0, 8.0), (15.0, 40.0))
            self._world.trace(f"{name}: no sign of life for {length} s")
            wire.is_mute = True
            self._world.loop.call_later(length, setattr, wire, "is_mute", False, context=self._world.outside)

    def _calm(self) -> None:
        world = self._world
        world.trace("the faults are over")
        self._is_over = True
        world.profile.network.calm()
        world.profile.manners.calm()

    # --- a person who looks after the runs ---

    async def look_after(self, until_s: float) -> bool:
        """Resume what pauses, approve what waits, until every run ended (True) or this moment (False)."""
        world = self._world
        while world.loop.time() < until_s:
            await asyncio.sleep(LOOK_S)
            is_asked = world.loop.time() > self._asks_until + LOOK_S
            if self._is_over and is_asked and self._is_everybody_well() and all(map(self._has_ended, world.asks)):
                return True
            for run in world.judge.runs.values():
                self._look_at(run)
        return False

    def _is_everybody_well(self) -> bool:
        processes = self._world.processes.values()
        return not any(p.life.is_stopped or p.wire.is_cut or p.wire.is_choked for p in processes)

    def _has_ended(self, run: RunId) -> bool:
        story = self._world.judge.runs.get(run)
        return run in self._world.judge.refused or (story is not None and story.finished_seq > 0)

    def _look_at(self, run: RunStory) -> None:
        world = self._world
        if run.finished_seq or world.loop.time() - self._asked_at.get(run.run, -REPEAT_S) < REPEAT_S:
            return
        is_given_up = run.cancelling_seq or run.edited is not None
        waits = run.request.approve and not run.settled_seq and run.plans and not is_given_up
        if run.is_poisoned:
            if run.cancelling_seq:
                return
            world.ask(RunCancelRequested(run=run.run, reason="it holds an event that does not fit"))
        elif waits:
            for delay, answer in self._approvers.answers(run):
                moment = world.loop.time() + delay
                self._asks_until = max(self._asks_until, moment)
                self._at(moment, world.ask, answer)
        elif run.paused:
            if run.paused == "budget" and run.limit is not None:
                world.ask(BudgetChangeRequested(run=run.run, max_cost_usd=run.limit / MILLION + 1.0))
            world.ask(RunResumeRequested(run=run.run))
        else:
            return
        self._asked_at[run.run] = world.loop.time()


def _stored(world: World, data: bytes) -> Digest:
    return at_once(world.blobs.put(data))
