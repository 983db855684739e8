"""What a run spends: what is set aside for attempts that are out, what they came to, what the next one may come to.

Imports pto_proto and siblings only. Invariants: sums are whole millionths of a dollar, so that adding and taking away
again leaves nothing; a cost that nobody knows counts as what was set aside for it, and is counted as unknown; per run
nothing is kept that grows with its tasks.
"""

from collections.abc import Mapping
from typing import Literal

from pto_core.limits import LEAST_ESTIMATE_USD, MAX_COST_USD
from pto_proto.events import FailureClass, Outcome

MILLION = 1_000_000
Kind = Literal["plan", "agent"]
Estimates = Mapping[str, float]
"""``engine/model`` or ``engine`` -> US dollars that an attempt is assumed to cost while none of its kind has ended."""
FIRST_ESTIMATES: Estimates = {"simulated": 0.0, "api": 0.5, "claude-code": 1.0}
"""Rather too much than too little: what is not used is free again when the attempt has ended."""
UNHEARD_OF_USD = 1.0
"""The same for an engine that no table names."""
_TELLING: frozenset[FailureClass | None] = frozenset({None, "task", "timeout", "budget"})
"""Ends of attempts that did their work; others stopped before it and say nothing about what one costs."""


_LEAST = round(LEAST_ESTIMATE_USD * MILLION)


class Money:
    """What one run has spent and set aside, in millionths of a US dollar."""

    __slots__ = ("known", "limit", "reserved", "spent", "unknown", "unknown_count")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        """What it may come to; None: no limit."""
        self.spent = 0
        """By attempts that are over, ``unknown`` included."""
        self.reserved = 0
        """For attempts that are out."""
        self.unknown = 0
        """What was set aside for attempts whose cost nobody knows."""
        self.unknown_count = 0
        self.known: dict[str, tuple[int, int]] = {}
        """Kind -> (attempts that did their work at a known cost, what they cost in all)."""

    @property
    def left(self) -> int | None:
        """What may still be set aside; None: no limit."""
        return None if self.limit is None else self.limit - self.spent - self.reserved

    def reserve(self, amount: int) -> None:
        """An attempt was handed out."""
        self.reserved += amount

    def settle(self, reserved: int, cost: int | None) -> None:
        """An attempt is over, for which ``reserved`` was set aside; ``cost`` None: nobody knows."""
        self.reserved -= reserved
        self.spent += reserved if cost is None else cost
        if cost is None:
            self.unknown += reserved
            self.unknown_count += 1

    def learn(self, kind: Kind, cost: int | None, outcome: Outcome, failure: FailureClass | None) -> None:
        """What an attempt of this kind came to, if that says something about the next one."""
        if cost is not None and outcome != "cancelled" and failure in _TELLING:
            count, total = self.known.get(kind, (0, 0))
            self.known[kind] = (count + 1, total + cost)

    def estimate(self, kind: Kind, first: int) -> int:
        """What the next attempt of this kind is assumed to cost: the mean so far, ``first`` before there is any."""
        count, total = self.known.get(kind, (0, 0))
        if not count:
            return first
        mean = -(-total // count)
        return max(mean, _LEAST) if first else mean


def micro(usd: float | None) -> int | None:
    """Dollars as whole millionths; None for what is unknown or no sum that can be."""
    return None if usd is None or not 0 <= usd <= MAX_COST_USD else round(usd * MILLION)


def dollars(amount: int) -> float:
    """Millionths as dollars."""
    return amount / MILLION


def money_text(amount: int) -> str:
    """``$1.50``; with more digits where cents would hide it."""
    usd = dollars(amount)
    return f"${usd:.2f}" if amount >= MILLION // 100 or not amount else f"${usd:.6f}".rstrip("0")


def first_estimate(estimates: Estimates, engine: str, model: str) -> int:
    """What the first attempt with this engine and model is assumed to cost."""
    usd = estimates.get(f"{engine}/{model}", estimates.get(engine, UNHEARD_OF_USD))
    return micro(usd) or 0


def bad_limit(usd: float) -> str:
    """What is wrong with this limit of cost; empty: nothing."""
    if 0 < usd <= MAX_COST_USD:
        return ""
    return f"must be a sum in US dollars above 0 and at most {MAX_COST_USD}, not {usd:g}"


def account(money: Money) -> str:
    """What was spent and is set aside, in words; what is unknown is said to be."""
    text = f"{money_text(money.spent)} spent"
    if money.unknown_count:
        noun = "attempt" if money.unknown_count == 1 else "attempts"
        text += f" (the cost of {money.unknown_count} {noun} is unknown and counted as {money_text(money.unknown)})"
    return f"{text}, {money_text(money.reserved)} reserved" if money.reserved else text


def asking(run: str, money: Money, estimate: int) -> str:
    """Why a run pauses for want of money, and how to go on."""
    limit = money_text(money.limit or 0)
    reserved = "" if money.reserved else ", $0.00 reserved"
    return (
        f"{account(money)}{reserved}; the next attempt may cost {money_text(estimate)}, which the limit of {limit} does"
        f" not leave; finished work is kept; go on with `orchestrator resume {run} --max-cost USD`"
    )
