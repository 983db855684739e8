"""Agents in a world: which tasks ask a model, what they may write, what the run may cost, what the model says.

Invariant: drawn apart from plans and faults, so that worlds without agents stay as they were.
"""

from dataclasses import replace
from random import Random

import msgspec

from pto_harness.globs import matches
from pto_proto.events import FailureClass
from pto_proto.plans import Plan, TaskSpec

from .plans import Ask

ESTIMATES = {"simulated": 0.3}
"""In these worlds the simulated engine has a price."""
SCOPES = ((), ("src/a/**",), ("src/a/x.py",), ("src/b",), ("src/*/x.py", "docs/x.md"), ("src/b/y.py",), ("docs/**",))
PATHS = ("src/a/x.py", "src/a/y.py", "src/b/x.py", "src/b/y.py", "docs/x.md", "other")
"""Enough to tell which of these scopes share a path."""


def employ_agents(asks: dict[str, Ask], random: Random) -> None:
    """In half of the worlds, give some tasks to agents and limit what some runs may cost."""
    if random.random() < 0.5:
        return
    share = random.choice((0.3, 0.7, 1.0))
    has_limits = random.random() < 0.6
    is_tidy = random.random() < 0.5
    is_busy = random.random() < 0.4
    has_wrong_key = random.random() < 0.15
    for ask in asks.values():
        specs = [_maybe_agent(spec, random, share, is_tidy=is_tidy) for spec in ask.plan.tasks]
        ask.plan = Plan(name=ask.plan.name, tasks=tuple(specs))
        for spec in specs:
            if spec.agent and has_wrong_key:
                before = ask.behaviour(spec.id)
                ask.behaviours[spec.id] = replace(before, failures=("config", *before.failures))
            if spec.agent and is_busy and random.random() < 0.6:
                before = ask.behaviour(spec.id)
                refusals: tuple[FailureClass, ...] = ("capacity",) * random.randint(1, 3)
                ask.behaviours[spec.id] = replace(before, failures=(*refusals, *before.failures))
        ask.request = msgspec.structs.replace(
            ask.request,
            plan=ask.plan if ask.request.plan is not None else None,
            model=random.choice(("", "big", "small")),
            max_cost_usd=random.choice((0.1, 0.5, 1.0, 2.0)) if has_limits else None,
        )


def _maybe_agent(spec: TaskSpec, random: Random, share: float, *, is_tidy: bool) -> TaskSpec:
    if random.random() >= share:
        return spec
    writes = random.choice(SCOPES[1:] if is_tidy else SCOPES)
    return msgspec.structs.replace(spec, noop=False, command="", agent="do it", writes=writes)


def bill(random: Random, reserved_usd: float) -> float | None:
    """What an attempt came to: less than was set aside, more, or nobody knows."""
    factor = random.choice((0.0, 0.1, 0.5, 1.0, 1.0, 1.7, None)) if reserved_usd else 0.0
    return None if factor is None else reserved_usd * factor


def retry_after_s(random: Random, failure: str | None) -> float:
    """When the model, or the site, wants to be asked again."""
    return random.choice((0.0, 0.0, 7.0, 45.0, 200.0)) if failure == "capacity" else 0.0


def share_a_path(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two of these scopes meet, by trying."""
    return any(_covers(one, path) and _covers(other, path) for path in PATHS)


def _covers(scope: tuple[str, ...], path: str) -> bool:
    return not scope or any(matches(glob, path) for glob in scope)
