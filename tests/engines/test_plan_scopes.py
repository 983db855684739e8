"""Whether two write scopes meet: never a "no" for two globs that share a path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_core.scopes import globs_overlap as globs_meet
from pto_harness.globs import matches

MEET = [
    ("src/a.py", "src/a.py"),
    ("src", "src/a.py"),
    ("src/", "src/a/b.py"),
    ("src/**", "src/a.py"),
    ("**/*.py", "src/a.py"),
    ("src/*.py", "src/a*"),
    ("src/**/test_*.py", "src/x/**"),
    ("docs/[ab].md", "docs/b.md"),
    ("./README.md", "README.md"),
    ("**", "anything/at/all"),
    ("a*b", "*ab*"),
]
APART = [
    ("src/a.py", "src/b.py"),
    ("src/*.py", "src/x/a.py"),
    ("src/a/**", "src/b/**"),
    ("src/*.py", "src/*.js"),
    ("src", "src2"),
    ("docs/?.md", "docs/ab.md"),
    ("a/**/c", "b/**/c"),
]


@pytest.mark.parametrize(("one", "other"), MEET)
def test_globs_that_share_a_path(one: str, other: str) -> None:
    assert globs_meet(one, other)
    assert globs_meet(other, one)


@pytest.mark.parametrize(("one", "other"), APART)
def test_globs_that_share_none(one: str, other: str) -> None:
    assert not globs_meet(one, other)
    assert not globs_meet(other, one)


NAMES = st.text("ab*?", min_size=1, max_size=3)
GLOBS = st.lists(st.one_of(NAMES, st.just("**")), min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@given(GLOBS, GLOBS, PATHS)
def test_path_that_both_match_is_never_overlooked(one: str, other: str, path: str) -> None:
    if matches(one, path) and matches(other, path):
        assert globs_meet(one, other)
        assert globs_meet(other, one)
