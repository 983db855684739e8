"""Somebody who asks for changes of runs that are not theirs, and the judge of what comes of it.

Invariant: what a stranger asks is drawn apart from everything else, so that a world without one is as it always was.
"""

from random import Random
from typing import TYPE_CHECKING

from pto_proto import events as ev
from pto_proto import requests as rq
from pto_proto.envelope import Event
from pto_proto.subjects import requester_of

if TYPE_CHECKING:
    from .world import World

STRANGER = "stranger"
CHANCE = 0.2
"""Of a world to have one."""


class Strangers:
    """Of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._random = Random(f"{world.seed}/strangers")
        self._owners: dict[str, str] = {}
        self._is_here = self._random.random() < CHANCE

    def begin(self) -> None:
        """Put what they ask on the calendar."""
        world, random = self._world, self._random
        for ask in list(world.asks.values()) if self._is_here else ():
            for _ in range(random.randint(1, 3)):
                request = random.choice(
                    (
                        rq.RunCancelRequested(run=ask.run, reason="not mine"),
                        rq.RunPauseRequested(run=ask.run),
                        rq.BudgetChangeRequested(run=ask.run, max_executors=random.randint(1, 9)),
                        rq.RunResumeRequested(run=ask.run),
                    )
                )
                moment = ask.at_s + random.uniform(0.0, world.profile.rage_s)
                world.loop.call_at(moment, world.ask, request, STRANGER, context=world.outside)

    def judge(self, seq: int, event: Event) -> None:
        """Promise 19: the log says truly who asked, and nobody else changes a run."""
        for entry in event.entries:
            if not isinstance(entry, ev.AnswerEntry) or not entry.request_seq:
                continue
            who = requester_of(self._world.asked[entry.request_seq - 1].subject)
            what = f"{event.kind.__name__} of {event.run} at {seq}"
            if entry.requester != who:
                self._world.complain(f"promise 19: {what} says that {entry.requester!r} asked, not {who!r}")
            if isinstance(entry, ev.RunAccepted):
                self._owners.setdefault(str(event.run), who)
            elif not isinstance(entry, ev.RequestRefused) and self._owners.get(str(event.run)) != who:
                self._world.complain(f"promise 19: {what} is what {who!r} asked")
