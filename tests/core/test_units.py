"""Sizes and times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_core.units import MAX_TIME_S, parse_memory_bytes, parse_time_s, slurm_time


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("1K", 1024),
        ("500M", 500 * 2**20),
        ("4G", 4 * 2**30),
        ("2t", 2 * 2**40),
        (" 16GB ", 16 * 2**30),
        ("8GiB", 2**33),
    ],
)
def test_memory_sizes_are_binary(text: str, size: int) -> None:
    assert parse_memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "4.5G", "-1", "0", "4X", "4 G G", "9999999T", "٤G", "4G\n4G"])
def test_what_is_no_memory_size_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="memory size; write for example"):
        parse_memory_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("01:30", 90), ("90:00", 5400), ("01:00:00", 3600), ("1-00:00:00", 86_400), ("2-3", 183_600),
        ("2-3:30", 185_400), ("100:00:00", 360_000),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_writes_them(text: str, seconds: int) -> None:
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "1h", "1:60", "1:2:3:4", "-5", "1.5", "00:00", "99999-00:00:00", "1-", "٣"])
def test_what_is_no_time_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a (possible )?time"):
        parse_time_s(text)


@given(st.integers(1, MAX_TIME_S))
def test_slurm_form_reads_back_as_the_same_time(seconds: int) -> None:
    assert parse_time_s(slurm_time(seconds)) == seconds
