"""Whether write scopes overlap: by examples, and never a "no" for two globs that match one path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_core.scopes import globs_overlap, overlap
from pto_harness.globs import matches

MEET = [
    ("src/a.py", "src/a.py"),
    ("src", "src/a.py"),
    ("src/", "src/a/b.py"),
    ("src/**", "src/a.py"),
    ("src/*", "src/a/b.py"),
    ("**/*.py", "src/a.py"),
    ("**", "a"),
    ("src/*.py", "src/a*"),
    ("a*b*c", "ab*bc"),
    ("src/**/test_*.py", "src/x/**"),
    ("docs/[ab].md", "docs/b.md"),
    ("docs/{a,b}.md", "docs/b.md"),
    ("./README.md", "README.md"),
    ("../x", "src/a.py"),
    ("/x", "src/a.py"),
    ("a//b", "a/b"),
]
APART = [
    ("src/a.py", "src/b.py"),
    ("src/*.py", "src/a/b.txt"),
    ("src/a/**", "src/b/**"),
    ("src/*.py", "src/*.js"),
    ("src", "src2"),
    ("docs/?.md", "docs/ab.md"),
    ("a/**/c", "b/**/c"),
    ("src/back*/**", "src/front*/**"),
]


@pytest.mark.parametrize(("one", "other"), MEET)
def test_globs_that_may_share_a_path(one: str, other: str) -> None:
    assert globs_overlap(one, other)
    assert globs_overlap(other, one)


@pytest.mark.parametrize(("one", "other"), APART)
def test_globs_that_cannot(one: str, other: str) -> None:
    assert not globs_overlap(one, other)
    assert not globs_overlap(other, one)


def test_no_scope_is_everything() -> None:
    assert overlap((), ("src/a.py",))
    assert overlap(("src/a.py",), ())
    assert overlap((), ())
    assert overlap(("docs/*", "src/a/**"), ("tests/**", "src/a/b.py"))
    assert not overlap(("docs/*", "src/a/**"), ("tests/**", "src/b/**"))


NAMES = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PARTS = st.sampled_from(["**", "*", "a*", "?", "[ab]", "[!a]b", "[", "[b-a]", "*.a", "a?b"]) | NAMES
GLOBS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(st.lists(GLOBS, max_size=3), st.lists(GLOBS, max_size=3), st.lists(PATHS, min_size=1, max_size=20))
def test_scopes_that_share_a_path_overlap(one: list[str], other: list[str], paths: list[str]) -> None:
    shared = [
        path
        for path in paths
        if any(matches(glob, path) for glob in one) and any(matches(glob, path) for glob in other)
    ]
    assert overlap(one, other) or not shared
    assert overlap(one, other) == overlap(other, one)


@given(GLOBS)
def test_a_glob_overlaps_itself_and_everything(glob: str) -> None:
    assert globs_overlap(glob, glob)
    assert globs_overlap(glob, "**")
    assert overlap((glob,), ())


def test_a_glob_made_to_be_slow_is_not() -> None:
    assert not globs_overlap("a/" + "**/" * 40 + "b" * 200, "c/" + "**/" * 40 + "*b" * 100)
    assert not globs_overlap("*a" * 150 + "x", "*a" * 150 + "y")
