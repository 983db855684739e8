"""One world: every service of the system with its wires, in one loop. The only module here that builds services.

Invariant: everything is drawn from the seed; the same seed gives the same log, byte for byte.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from pto_core.snapshot import dump
from pto_dispatch.dispatcher import Dispatcher
from pto_memory import MemoryBlobStore, MemoryLeases, MemoryLiveChannel, MemorySnapshotStore
from pto_planning.backend import PlannerBackend
from pto_ports.backend import Order
from pto_ports.engine import PlanDraft
from pto_ports.event_log import Outgoing, Recorded
from pto_proto.envelope import Event, decode_event, decode_request, encode_request
from pto_proto.events import AttemptLost, AttemptUnknown
from pto_proto.ids import LANE_CONSOLIDATOR, LANE_LOCAL, LANE_PLANNER, InstanceId, Lane, RunId
from pto_proto.requests import AnyRequest, Request
from pto_proto.subjects import request_subject
from pto_runtime.service import CannotServe
from pto_scheduler import snapshots
from pto_scheduler.intake import Intake
from pto_scheduler.scheduler import Scheduler

from .agents import ESTIMATES, employ_agents
from .clusters import Cluster, Containers, ContainersAndPlanner
from .executors import FakeBackend, Host, Ledger
from .hearing import LATEST_SIGN_S, least_silence
from .judge import Judge
from .loop import Life, LoopClock, SimLoop
from .places import DOCKER, spread_out
from .plans import Ask, draw_asks
from .reviews import Reviews
from .roughness import Profile, draw_profile
from .strangers import Strangers
from .wires import FaultyBlobs, FaultyChannel, FaultyLease, FaultyLog, Stream, Wire, at_once

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=True
)

snapshots.SNAPSHOT_EVERY = 16  # what the product does once in 100,000 messages has to happen in small worlds too

MAX_EVENTS = 3_000
"""Ten times what the biggest world needs."""
MAX_GONE = 3
"""How often a service may give up and be started again: announcements of an old incarnation can come late."""


class EndlessLog(BaseException):
    """Somebody writes the same again and again; nothing in the world may catch this."""


class FixedEngine:
    """A plan engine that knows the plans of its world."""

    name = "simulated"

    def __init__(self, asks: dict[RunId, Ask]) -> None:
        self._plans = {f"plan of {run}": ask.plan for run, ask in asks.items()}

    def plan(self, requirement: str, max_executors: int, cancel: object = None, model: str = "") -> PlanDraft:
        return PlanDraft(plan=self._plans[requirement], complexity=1, rationale="")


@dataclass
class Process:
    """A service process: it is started again and again under one name."""

    name: str
    build: Callable[["World", "Process"], Coroutine[Any, Any, None]]
    life: Life
    wire: Wire
    capacity: int = 4
    host: Host = field(default_factory=Host)
    service: Any = None
    gone: int = 0
    """How often it ended by itself."""
    snapshots: MemorySnapshotStore = field(default_factory=MemorySnapshotStore)
    skew_ms: int = 0

    @property
    def is_up(self) -> bool:
        return not self.life.is_dead


class World:
    """Everything there is."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = Random(f"{seed}/world")
        self.profile: Profile = draw_profile(Random(f"{seed}/profile"))
        self.asks = {ask.run: ask for ask in draw_asks(Random(f"{seed}/plans"))}
        employ_agents(self.asks, Random(f"{seed}/agents"))
        self.places = spread_out(self.asks, Random(f"{seed}/places"))
        self.wall_until_s = 0.0
        """Until then no model takes anything."""
        self._trace = trace
        self.violations: list[str] = []
        self.loop = SimLoop()
        self.outside = Context()
        self.clock = LoopClock(self.loop)
        self.log = Stream(self.clock, self._on_event)
        self.requests = Stream(self.clock, self._on_request, "requests:")
        self.leases = MemoryLeases(self.clock)
        self.channel = MemoryLiveChannel()
        self.blobs = MemoryBlobStore()
        reviews = Reviews(self.complain, self.request, lambda digest: at_once(self.blobs.get(digest)))
        self.judge = Judge(self.complain, reviews)
        self.strangers = Strangers(self)
        self.ledger = Ledger()
        self.acks: list[tuple[Sequence[Outgoing], int]] = []
        self.asked: list[Recorded] = []
        self.lives: list[Life] = []
        self.processes: dict[str, Process] = {}
        self.kept: list[tuple[str, int, bytes]] = []
        """(who, sequence, dump) of a scheduler's state at some moment."""
        self.stored_at: list[float] = []
        """Moment of each sequence, from 1."""
        self.spoke_at: dict[str, float] = {}
        """Dispatcher -> moment of its last event."""
        self.on_event: Callable[[Event], None] | None = None
        self._first_read: dict[str, int] = {}
        """Wire id -> how far its writer had read when it wrote that first."""
        self._count = 0

    def trace(self, what: str) -> None:
        """One line of what happened now, for people who replay a seed."""
        if self._trace is not None:
            self._trace(f"{self.loop.time():10.3f}  {what}")

    def complain(self, what: str) -> None:
        """A promise is broken."""
        self.violations.append(what)
        self.trace(f"BROKEN {what}")

    # --- processes ---

    def start_all(self) -> None:
        """Start every service for the first time."""
        capacities = Random(f"{self.seed}/capacities")
        for name in ("scheduler-1", "scheduler-2"):
            self._add(name, build_scheduler, 0)
        self._add("planner-1", build_planner, capacities.choice((1, 4)))
        for name in ("local-1", "local-2"):
            self._add(name, build_local, capacities.choice((1, 2, 4)))
        self._add("consolidator-1", build_consolidator, capacities.choice((1, 4)))
        for name, lane in self.places.dispatchers.items():
            self._add(name, build_containers if lane == DOCKER else build_cluster, capacities.choice((1, 2, 4)))

    def _add(self, name: str, build: Callable[["World", Process], Coroutine[Any, Any, None]], capacity: int) -> None:
        life = Life(name, "none")
        process = Process(name, build, life, self._wire(life), capacity)
        process.skew_ms = self.random.randint(-self.profile.skew_ms, self.profile.skew_ms)
        self.processes[name] = process
        self.start(process)

    def start(self, process: Process) -> None:
        """A new incarnation."""
        self._count += 1
        process.life = life = Life(process.name, f"i{self._count}")
        process.wire = self._wire(life)
        self.lives.append(life)
        life.hearing.born_at = self.loop.time()
        self.trace(f"{process.name}: starts as {life.incarnation}")
        task = self.loop.create_task(process.build(self, process), context=life.context)
        task.add_done_callback(lambda task: self._on_end(process, life, task), context=self.outside)

    def _wire(self, life: Life) -> Wire:
        return Wire(self.loop, life, self.profile.network, self.random, self.trace)

    def _on_end(self, process: Process, life: Life, task: Any) -> None:
        if not life.is_dead:
            error = None if task.cancelled() else task.exception()
            self.trace(f"{process.name}: ends by itself: {error!r}")
            self.loop.kill(life)
            process.gone += 1
            if not isinstance(error, CannotServe) or process.gone > MAX_GONE:
                self.complain(f"a service failed: {process.name} ended by itself: {error!r}")
            self.loop.call_later(1.0, self.start, process, context=self.outside)

    # --- what is stored ---

    def _on_event(self, recorded: Recorded, wire: Wire | None) -> None:
        event = decode_event(recorded.data)
        read = wire.life.hearing.had_read.get(event.id, 0) if wire is not None else 0
        read = self._first_read.setdefault(f"{event.source} {event.id}", read)
        if self._trace is not None:
            where = "/".join(part for part in (event.lane, event.run) if part)
            shown = "; ".join(_shown(entry) for entry in event.entries)
            self.trace(f"  #{recorded.seq} {event.kind.__name__} {where} [{event.source} {event.id}] {shown}")
        self.stored_at.append(self.loop.time())
        if event.source.startswith("dispatcher/"):
            self.spoke_at[event.source.rpartition("/")[2]] = self.loop.time()
        if wire is not None and event.kind in (AttemptUnknown, AttemptLost):
            self._check_silence(recorded.seq, event, wire.life, read)
        if recorded.seq > MAX_EVENTS:
            raise EndlessLog(f"{MAX_EVENTS} events are in the log, and it goes on")
        self.judge.apply(recorded.seq, event, read)
        self.strangers.judge(recorded.seq, event)
        if self.on_event is not None:
            self.on_event(event)

    def _check_silence(self, seq: int, event: Event, life: Life, read: int) -> None:
        if event.lane is None or event.id not in life.hearing.sent_at:
            return
        for entry in event.entries:
            announced = self.judge.instances[event.lane, entry.instance]
            incarnation = next((name for at, name, _ in reversed(announced) if at <= read), "")
            silence = life.hearing.silence((event.lane, entry.instance, incarnation), event.id)
            if silence < least_silence(entry, event.lane):
                what = f"{event.kind.__name__} of {entry.task}.{entry.attempt} at {seq}"
                self.complain(f"promise 12: {what}, {silence:.1f} s after {life.name} heard of {entry.instance}")
            if isinstance(entry, AttemptLost) and event.lane in self.places.dispatchers.values():
                self._check_loss(entry, life, event.lane)

    def _check_loss(self, entry: AttemptLost, life: Life, lane: Lane) -> None:
        """A cluster's job is never lost by silence, a container only if another dispatcher can take its place."""
        now = self.loop.time()
        signs = [
            max(self.spoke_at.get(name, -1e9), life.hearing.last_sign(lane, name))
            for name, where in self.places.dispatchers.items()
            if where == lane and name != entry.instance
        ]
        if lane != DOCKER:
            self.complain(f"promise 12: {entry.task}.{entry.attempt} is lost by silence in lane {lane}")
        elif not any(now - sign < LATEST_SIGN_S for sign in signs):
            self.complain(f"promise 12: {entry.task}.{entry.attempt} is lost, but nobody can take its place")

    def _on_request(self, recorded: Recorded, wire: Wire | None) -> None:
        self.asked.append(recorded)

    def request(self, seq: int) -> AnyRequest:
        """What was asked for at this sequence of the queue."""
        return decode_request(self.asked[seq - 1].data)[1]

    def note_ack(self, messages: Sequence[Outgoing], seq: int) -> None:
        """A writer was told that these are stored."""
        self.acks.append((messages, seq))

    def note_state(self, process: Process) -> None:
        """Keep what this scheduler knows now, to compare it with the log in the end."""
        if isinstance(process.service, Scheduler):
            state = process.service.state
            self.kept.append((f"{process.name} {process.life.incarnation}", state.seq, dump(state)))

    # --- requests ---

    def ask(self, request: Request, requester: str = "tester") -> None:
        """Somebody outside asks; sometimes the message comes twice."""
        self._count += 1
        data = encode_request(f"q{self._count}", requester, self.clock.now_ms(), request)
        message = Outgoing(request_subject(type(request), requester), data, "")
        self.trace(f"asked: {type(request).__name__} {request.run}")
        self.requests.put([message], None, None, again=False)
        if self.random.random() < self.profile.repeated_requests:
            delay = self.random.choice((0.0, 0.5, 5.0))
            self.loop.call_later(
                delay, lambda: self.requests.put([message], None, None, again=False), context=self.outside
            )  # fmt: skip


def _shown(entry: Any) -> str:
    names = ("task", "attempt", "instance", "outcome", "failure", "due_at", "epoch", "incarnation", "status", "kind")
    found = [f"{getattr(entry, name)}" for name in names if getattr(entry, name, None) not in (None, "")]
    found += [str(problem) for problem in getattr(entry, "reasons", ())]
    return " ".join(found)


def _no_lines(order: Order, stream: str, text: str) -> None:
    pass


def build_scheduler(world: World, process: Process) -> Coroutine[Any, Any, None]:
    """A scheduler process."""
    wire, clock = process.wire, LoopClock(world.loop, process.skew_ms)
    process.service = scheduler = Scheduler(
        log=FaultyLog(wire, world.log, world.note_ack),
        intake=Intake(FaultyLog(wire, world.requests, _ignore), FaultyBlobs(wire, world.blobs), clock),
        clock=clock,
        lease=FaultyLease(wire, world.leases),
        live=FaultyChannel(wire, world.channel),
        snapshots=process.snapshots,
        instance=InstanceId(process.name),
        incarnation=process.life.incarnation,
        estimates=ESTIMATES,
    )
    return scheduler.run(_never())


def _dispatcher(world: World, process: Process, lane: Lane, backend: Any) -> Coroutine[Any, Any, None]:
    wire = process.wire
    process.service = dispatcher = Dispatcher(
        log=FaultyLog(wire, world.log, world.note_ack),
        backend=backend,
        clock=LoopClock(world.loop, process.skew_ms),
        live=_no_lines,
        channel=FaultyChannel(wire, world.channel),
        lane=lane,
        instance=InstanceId(process.name),
        incarnation=process.life.incarnation,
        capacity=process.capacity,
    )
    return dispatcher.run(_never())


def _planner(world: World, process: Process) -> PlannerBackend:
    wire = process.wire
    engine = FixedEngine(world.asks)
    return PlannerBackend(
        log=FaultyLog(wire, world.log, world.note_ack),
        blobs=FaultyBlobs(wire, world.blobs),
        clock=LoopClock(world.loop, process.skew_ms),
        instance=InstanceId(process.name),
        engines={engine.name: engine},
    )


def build_planner(world: World, process: Process) -> Coroutine[Any, Any, None]:
    """A planner process."""
    return _dispatcher(world, process, LANE_PLANNER, _planner(world, process))


def build_local(world: World, process: Process) -> Coroutine[Any, Any, None]:
    """A dispatcher process of the local lane."""
    survives = world.profile.survivors
    backend = FakeBackend(world, process, process.host, ("noop", "command", "agent:simulated"), survives=survives)
    return _dispatcher(world, process, LANE_LOCAL, backend)


def build_containers(world: World, process: Process) -> Coroutine[Any, Any, None]:
    """A dispatcher process of the docker lane."""
    backend = ContainersAndPlanner(Containers(world, process, process.host), _planner(world, process))
    return _dispatcher(world, process, DOCKER, backend)


def build_cluster(world: World, process: Process) -> Coroutine[Any, Any, None]:
    """A dispatcher process next to a cluster."""
    lane = world.places.dispatchers[process.name]
    return _dispatcher(world, process, lane, Cluster(world, process, process.host))


def build_consolidator(world: World, process: Process) -> Coroutine[Any, Any, None]:
    """A consolidator process, with a fake merge."""
    backend = FakeBackend(world, process, process.host, ("merge",), survives=world.profile.survivors)
    return _dispatcher(world, process, LANE_CONSOLIDATOR, backend)


def _ignore(messages: Sequence[Outgoing], seq: int) -> None:
    pass


def _never() -> asyncio.Event:
    return asyncio.Event()
