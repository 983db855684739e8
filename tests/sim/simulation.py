"""One seed from beginning to end: make the world, let the storm rage, wait for rest, judge."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

from .checkers import CHECKERS
from .loop import BusyWaiting, Stalled
from .storm import Storm
from .world import EndlessLog, World

PATIENCE_S = 3_600.0
"""Virtual time after the faults in which every run has to end: more than all backoffs of the longest chain."""
REST_S = 12.0
"""How long a world is left alone before it is judged: long enough for everybody to read everything."""
READ_S = 2.0
"""Longer than any reader is late once the faults are over."""


@dataclass
class Verdict:
    """What became of one seed."""

    seed: int
    violations: list[str] = field(default_factory=list)
    events: int = 0
    virtual_s: float = 0.0
    digest: str = ""
    """Names the whole log: the same for the same seed and program."""


def simulate(seed: int, trace: Callable[[str], None] | None = None) -> Verdict:
    """Run one seed."""
    return play(World(seed, trace))


def play(world: World) -> Verdict:
    """Let this world live to its end and judge it."""
    storm = Storm(world)
    is_judged = False

    async def live() -> None:
        nonlocal is_judged
        world.start_all()
        storm.begin()
        await storm.look_after(world.profile.rage_s + PATIENCE_S)
        await world.clock.sleep(REST_S)
        seen = -1
        while seen != world.log.size:  # a liar may still speak up; what it says has to be read too
            seen = world.log.size
            await world.clock.sleep(READ_S)
        is_judged = True

    gc.disable()
    try:
        world.loop.run_until_complete(world.outside.run(live))
    except (BusyWaiting, Stalled, EndlessLog) as error:
        world.complain(f"the world stands still: {error}")
    for error in world.loop.errors:
        world.complain(f"a callback failed: {error}")
    for check in CHECKERS if is_judged else ():
        for violation in check(world):
            world.complain(violation)
    verdict = Verdict(world.seed, world.violations, world.log.size, world.loop.time(), _digest(world))
    world.loop.bury(world.lives)
    world.loop.close()
    gc.enable()
    return verdict


def _digest(world: World) -> str:
    import hashlib

    whole = hashlib.sha256()
    for recorded in world.log.store.stored():
        whole.update(recorded.data)
    return whole.hexdigest()[:16]
