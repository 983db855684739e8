"""What a model costs, and whether its id is known, ending or unknown: read from ``prices.json``.

Imports msgspec, ports and proto. Invariant: what has no price in the table costs None, never nothing.
"""

import re
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from pto_ports.engine import Spent
from pto_proto.results import Usage

MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float


class Ending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a model is switched off, and which one takes its place."""

    ends: str
    instead: str


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table; an operator's own file has the same form and wins model by model."""

    as_of: str = ""
    unit: str = ""
    prices: dict[str, Price] = {}
    known: tuple[str, ...] = ()
    """Models that exist and have no price here."""
    ending: dict[str, Ending] = {}

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """None if the model has no price."""
        price = self.prices.get(model) or self.prices.get(base_name(model))
        if price is None:
            return None
        return (
            usage.input_tokens * price.input
            + usage.output_tokens * price.output
            + usage.cache_read_tokens * price.cache_read
            + usage.cache_write_tokens * price.cache_write
        ) / MILLION

    def spent(self, model: str, usage: Usage, turns: int = 1) -> Spent:
        """What this usage comes to."""
        return Spent(usage=usage, cost_usd=self.cost_usd(model, usage), turns=turns)


class PricesUnreadable(Exception):
    """An operator's price file cannot be used; the message says why."""


@cache
def shipped_prices() -> PriceTable:
    """The table that comes with this version."""
    return msgspec.json.decode((files(__package__) / "prices.json").read_bytes(), type=PriceTable)


def prices_with(path: Path) -> PriceTable:
    """The shipped table, with what an operator's file says on top. Raises PricesUnreadable."""
    try:
        own = msgspec.json.decode(path.read_bytes(), type=PriceTable)
    except (OSError, msgspec.MsgspecError) as error:
        raise PricesUnreadable(f"the price file {path} cannot be used: {error}") from error
    shipped = shipped_prices()
    return PriceTable(
        as_of=own.as_of or shipped.as_of,
        unit=shipped.unit,
        prices={**shipped.prices, **own.prices},
        known=(*shipped.known, *own.known),
        ending={**shipped.ending, **own.ending},
    )


def base_name(model: str) -> str:
    """``claude-sonnet-4-5`` for any id of it: dated, of Bedrock, of an inference profile, or its ARN.

    An application inference profile's ARN says nothing about its model and stays what it is.
    """
    name = model.rpartition("/")[2] if model.startswith("arn:") else model
    name = re.sub(r"^(?:[a-z]{2,6}(?:-gov)?\.)?anthropic\.", "", name)
    name = re.sub(r"(?:-v\d+)?(?::\d+)?$", "", name)
    return re.sub(r"[-@]20\d{6}$", "", name)


def model_notice(model: str, table: PriceTable | None = None) -> str:
    """One sentence about an id that is ending or unknown; empty if all is well."""
    table = table or shipped_prices()
    name = base_name(model)
    if name in table.ending:
        end = table.ending[name]
        return f"model {model} is switched off on {end.ends}; use {_like(model, end.instead)} instead"
    names = {*table.prices, *table.known}
    if name in names or model in names:
        return ""
    if name.startswith("arn:") or (model.startswith("arn:") and "application-inference-profile" in model):
        return f"which model is behind {model} cannot be told, so its cost is unknown"
    near = get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    hint = f"; did you mean {_like(model, near[0])}?" if near else ""
    return f"model {model} is not known to this version, so its cost is unknown{hint}"


def _like(model: str, name: str) -> str:
    """The other model's name in the same catalogue."""
    prefix = re.match(r"(?:[a-z]{2,6}(?:-gov)?\.)?anthropic\.", model)
    return f"{prefix[0]}{name}" if prefix else name
