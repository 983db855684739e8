"""Disturbances at random moments from a seed: SIGKILL of services and broker, SIGSTOP for a while, and restarts.

Invariant: what was killed is started again and what was stopped goes on, before ``rage`` returns.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .sites import Service, Site

BROKER = "broker"
KILL_WEIGHTS = {"pto-scheduler": 3, "pto-dispatcher-local": 3, "pto-planner": 2, "pto-consolidator": 2}
BROKER_WEIGHT = 3
GIVES_UP = "no broker answered"
MAX_FROZEN = 2
"""Services that stand still at once: more would only be waited for."""


@dataclass(frozen=True)
class Pace:
    """How much, and how fast."""

    kills: int
    freezes: int
    gap_s: tuple[float, float] = (0.5, 2.0)
    """Between two disturbances."""
    pause_s: tuple[float, float] = (0.0, 1.5)
    """Between a kill and the restart."""
    long_pause_s: float = 8.0
    """Every fourth restart may take this long: longer than the lease of a leader."""
    freeze_s: tuple[float, float] = (1.0, 40.0)


@dataclass(frozen=True)
class Disturbance:
    """One thing that was done."""

    at: int
    """Unix milliseconds."""
    kind: str
    name: str
    lasted_s: float
    was_leader: bool


class Storm:
    """Disturbs the services of a site."""

    def __init__(self, site: Site, services: tuple[Service, ...], pace: Pace, seed: int) -> None:
        self._site = site
        self._services = {service.name: service for service in services}
        self._pace = pace
        self._random = random.Random(seed)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self.done: list[Disturbance] = []
        self.surprises: list[str] = []
        """Services that ended by themselves, with what they said."""
        self.leader: Callable[[], str] = lambda: ""
        self.unfinished: Callable[[], int] = lambda: 0
        self.left = 0
        """Runs that were unfinished at the last kill."""

    @property
    def kills(self) -> int:
        return sum(disturbance.kind == "kill" for disturbance in self.done)

    @property
    def freezes(self) -> int:
        return sum(disturbance.kind == "freeze" for disturbance in self.done)

    def by_kind(self) -> Counter[str]:
        return Counter(f"{disturbance.kind} {disturbance.name}" for disturbance in self.done)

    async def rage(self) -> None:
        """Disturb until there were enough kills, then let everything recover."""
        pace, draw = self._pace, self._random
        while self.kills < pace.kills:
            await asyncio.sleep(draw.uniform(*pace.gap_s))
            self.supervise()
            frozen = sum(running.stopped for running in self._site.running.values())
            due = pace.freezes * (self.kills + 1) / pace.kills
            if self.freezes < due and frozen < MAX_FROZEN:
                self._begin("freeze", self._target(with_broker=False))
            else:
                self._begin("kill", self._target(with_broker=True))
        self.left = self.unfinished()
        await asyncio.gather(*self._busy.values())
        self.supervise()

    async def calm(self) -> None:
        """After an error: end what is still going on."""
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def supervise(self) -> None:
        """Start again what ended by itself, and remember that it did."""
        for name, service in self._services.items():
            code = self._site.exit_code(name)
            if name not in self._busy and code is not None:
                words = " ".join(self._site.words(name)[-2:])
                if GIVES_UP not in words:  # started while the broker was away, which is not waited for
                    self.surprises.append(f"{name} ended with {code}: {words}")
                self._site.start(service)

    def _target(self, *, with_broker: bool) -> str | None:
        weights = {
            name: KILL_WEIGHTS[service.program] for name, service in self._services.items() if name not in self._busy
        }
        if with_broker and BROKER not in self._busy:
            weights[BROKER] = BROKER_WEIGHT
        return self._random.choices(list(weights), list(weights.values()))[0] if weights else None

    def _begin(self, kind: str, name: str | None) -> None:
        if name is None:
            return
        low, high = self._pace.freeze_s
        # Short ones are as likely as long ones, by orders of magnitude.
        lasting = math.exp(self._random.uniform(math.log(low), math.log(high)))
        longest = self._pace.pause_s[1] if self._random.random() < 0.75 else self._pace.long_pause_s
        seconds = lasting if kind == "freeze" else self._random.uniform(self._pace.pause_s[0], longest)
        self.done.append(Disturbance(time.time_ns() // 10**6, kind, name, seconds, name == self.leader()))
        task = asyncio.create_task(self._freeze(name, seconds) if kind == "freeze" else self._kill(name, seconds))
        self._busy[name] = task
        task.add_done_callback(lambda done: None if done.cancelled() else self._busy.pop(name, None))

    async def _kill(self, name: str, pause_s: float) -> None:
        if name == BROKER:
            self._site.broker.kill()
            await asyncio.sleep(pause_s)
            self._site.broker.restart()
        else:
            self._site.kill(name)
            await asyncio.sleep(pause_s)
            self._site.start(self._services[name])

    async def _freeze(self, name: str, seconds: float) -> None:
        self._site.freeze(name)
        await asyncio.sleep(seconds)
        self._site.thaw(name)
