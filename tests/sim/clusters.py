"""Fake containers and clusters: what runs there outlives its dispatcher, and sometimes vanishes or begins once more.

Invariant: as of every executor, how an attempt ends depends on its task's behaviour alone; what vanished has no end.
"""

from typing import TYPE_CHECKING, Any

from pto_planning.backend import PlannerBackend
from pto_ports.backend import LiveLine, Order, Report
from pto_proto import events as ev
from pto_proto.ids import PLAN_TASK
from pto_proto.plans import Resources

from .executors import FakeBackend, Host, Work, identity, name_of
from .places import NODES
from .stories import Name

if TYPE_CHECKING:
    from .world import Process, World

ABILITIES = ("noop", "command", "agent:simulated")
MOST_REQUEUES = 2


class Containers(FakeBackend):
    """The containers of one dispatcher: when it comes back, most of them are still there."""

    def __init__(self, world: "World", process: "Process", host: Host) -> None:
        super().__init__(world, process, host, ABILITIES, survives=True)
        for name in list(host.running):
            if self._random.random() < world.places.gone:
                world.trace(f"{self.instance}: the container of {name[1]}.{name[3]} of {name[0]} is gone")
                self._remove(name)
        self._adopted: set[Name] = set()

    async def adopt(self, order: Order) -> bool:
        self._adopted.add(name_of(order))
        return await super().adopt(order)

    async def sweep(self) -> None:
        """What was given up while nobody was there to hear it ends now."""
        for name in sorted(self._host.running.keys() - self._adopted):
            self._remove(name)
        for name in sorted(self._host.ended.keys() - self._adopted):
            del self._host.ended[name]

    def _remove(self, name: Name) -> None:
        timer = self._host.running.pop(name).timer
        assert timer is not None
        timer.cancel()


class ContainersAndPlanner:
    """Containers for tasks, and a planner that does not outlive its dispatcher."""

    def __init__(self, containers: Containers, planner: PlannerBackend) -> None:
        self._both = (containers, planner)

    def _of(self, order: Order) -> Containers | PlannerBackend:
        return self._both[order.ready.task == PLAN_TASK]

    def can_run(self) -> tuple[str, ...]:
        return (*ABILITIES, "plan")

    async def open(self, report: Report, live: LiveLine) -> None:
        for backend in self._both:
            await backend.open(report, live)

    async def start(self, order: Order) -> None:
        await self._of(order).start(order)

    async def stop(self, order: Order, reason: str) -> bool:
        return await self._of(order).stop(order, reason)

    async def adopt(self, order: Order) -> bool:
        return await self._of(order).adopt(order)

    async def sweep(self) -> None:
        for backend in self._both:
            await backend.sweep()

    def forget(self, order: Order) -> None:
        self._of(order).forget(order)

    async def close(self) -> None:
        for backend in self._both:
            await backend.close()


class Cluster(FakeBackend):
    """Jobs of a cluster, and the relay that tells of them: they wait in a queue, run on nodes, and may run anew."""

    def __init__(self, world: "World", process: "Process", host: Host) -> None:
        super().__init__(world, process, host, ABILITIES, survives=True)

    def _begin(self, work: Work, took: float) -> None:
        self._tell_state(work, "PENDING")
        wait = self._random.choice((0.0, 0.5, 5.0, 60.0))
        work.timer = self._later(wait, self._run, work, took, MOST_REQUEUES)

    def _run(self, work: Work, took: float, requeues: int) -> None:
        order, random = work.order, self._random
        started = ev.TaskStarted(**identity(order, self._world.clock.now_ms()), instance=self.instance, job="7")
        self._relay(order, started)
        if requeues and random.random() < self._world.places.requeues:
            work.timer = self._later(took * random.random(), self._requeue, work, took, requeues - 1)
        else:
            work.timer = self._later(took, self._end, work, False)

    def _requeue(self, work: Work, took: float, requeues: int) -> None:
        self._world.trace(f"{self.instance}: {work.name[1]}.{work.name[3]} of {work.name[0]} is requeued")
        self._tell_state(work, "REQUEUED")
        work.timer = self._later(self._random.choice((0.5, 30.0)), self._run, work, took, requeues)

    def _tell_state(self, work: Work, state: str) -> None:
        base = identity(work.order, self._world.clock.now_ms())
        self._relay(work.order, ev.JobStateChanged(**base, instance=self.instance, state=state, job="7"))

    def _fault(self, order: Order, failure: ev.FailureClass) -> dict[str, Any]:
        random = self._random
        if failure == "infra":
            return {"node": random.choice((*NODES, ""))}
        if failure not in ("task", "timeout"):
            return {}
        again = Resources(memory=random.choice(("", "8G", "16G")), time=random.choice(("", "02:00:00")), cpus=9)
        return {"again": random.choice((None, again)), "node": random.choice(NODES)}

    def _relay(self, order: Order, entry: ev.Entry) -> None:
        """Nobody hears of it while the relay is away."""
        backend = self._host.backend
        if backend is not None and backend.is_listening and name_of(order) in self._host.running:
            self._world.loop.call_soon(backend.say, order, entry, context=backend.context)
