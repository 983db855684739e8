"""What models cost, and what is said about their ids."""

import json
from pathlib import Path

import pytest

from pto_engines.models.prices import (
    PricesUnreadable,
    base_name,
    model_notice,
    prices_with,
    shipped_prices,
)
from pto_engines.models.settings import BEDROCK_DEFAULT_MODEL, DEFAULT_MODEL
from pto_ports.engine import Spent
from pto_proto.results import Usage

USED = Usage(input_tokens=1_000_000, output_tokens=100_000, cache_read_tokens=2_000_000, cache_write_tokens=400_000)


def test_every_kind_of_token_has_its_price() -> None:
    assert shipped_prices().cost_usd("claude-sonnet-4-5", USED) == pytest.approx(3 + 1.5 + 0.6 + 1.5)


@pytest.mark.parametrize(
    "id_",
    [
        "claude-sonnet-4-5-20250929",
        BEDROCK_DEFAULT_MODEL,
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "claude-sonnet-4-5@20250929",
    ],
)
def test_all_ids_of_a_model_cost_the_same(id_: str) -> None:
    assert base_name(id_) == "claude-sonnet-4-5"
    assert shipped_prices().cost_usd(id_, USED) is not None


@pytest.mark.parametrize(
    "id_", ["claude-new-9", "", "gpt", "arn:aws:bedrock:eu-central-1:1:application-inference-profile/a1b2"]
)
def test_unknown_model_costs_an_unknown_amount(id_: str) -> None:
    assert shipped_prices().cost_usd(id_, USED) is None
    assert shipped_prices().cost_usd(id_, Usage()) is None


def test_sum_is_unknown_as_soon_as_one_part_is() -> None:
    known, unknown = Spent(usage=USED, cost_usd=1.0, turns=2), Spent(usage=USED, cost_usd=None, turns=1)
    assert known + known == Spent(usage=_double(USED), cost_usd=2.0, turns=4)
    assert (known + unknown + known).cost_usd is None
    assert Spent() + known == known


def _double(usage: Usage) -> Usage:
    return Usage(**{name: 2 * getattr(usage, name) for name in Usage.__struct_fields__})


def test_own_file_wins_and_keeps_the_rest(tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    price = {"input": 7, "output": 1, "cache_read": 1, "cache_write": 1}
    profile = "arn:aws:bedrock:eu-central-1:1:application-inference-profile/a1b2"
    own.write_text(json.dumps({"prices": {"claude-new-9": price, DEFAULT_MODEL: price, profile: price}}))
    table = prices_with(own)
    million = Usage(input_tokens=1_000_000)
    assert [table.cost_usd(name, million) for name in ("claude-new-9", DEFAULT_MODEL, "claude-opus-5-5", profile)] == [
        7,
        7,
        4,
        7,
    ]
    assert model_notice(profile, table) == ""


@pytest.mark.parametrize("text", ["", "[]", '{"prices": {"a": {"input": 1}}}', '{"price": {}}'])
def test_file_with_mistakes_is_refused(text: str, tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    own.write_text(text)
    with pytest.raises(PricesUnreadable, match=r"prices\.json"):
        prices_with(own)


NOTICES = [
    (DEFAULT_MODEL, ""),
    ("claude-opus-5", ""),
    (BEDROCK_DEFAULT_MODEL, "2026-11-30; use global.anthropic.claude-sonnet-5-5 instead"),
    ("claude-sonnet-4-5", "2026-11-30; use claude-sonnet-5-5 instead"),
    ("claude-sonet-5-5", "did you mean claude-sonnet-5-5?"),
    ("eu.anthropic.claude-opus-5-6", "did you mean eu.anthropic.claude-opus-5-5?"),
    ("something", "not known"),
    ("arn:aws:bedrock:eu-central-1:1:application-inference-profile/a1b2", "cannot be told"),
]


@pytest.mark.parametrize(("id_", "part"), NOTICES)
def test_notice_about_a_model(id_: str, part: str) -> None:
    notice = model_notice(id_)
    assert part in notice
    assert bool(notice) == bool(part)


def test_table_is_consistent() -> None:
    table = shipped_prices()
    assert all(end.instead in {*table.prices, *table.known} for end in table.ending.values())
    assert not {end.instead for end in table.ending.values()} & set(table.ending)
    assert all(base_name(name) == name for name in (*table.prices, *table.known))
