"""Plans and names as people see them: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_cli.naming import new_run_id, short_name, slug
from pto_cli.render import clean, duration, levels, longest_chain, plan_lines, table
from pto_proto.ids import TaskId, is_run_id
from pto_proto.plans import Plan, TaskSpec


def plan(**depends: tuple[str, ...]) -> Plan:
    tasks = tuple(
        TaskSpec(id=TaskId(name), noop=True, depends_on=tuple(map(TaskId, on))) for name, on in depends.items()
    )
    return Plan(name="P", tasks=tasks)


def test_levels_say_what_could_run_at_once() -> None:
    assert levels(plan(d=("b", "c"), a=(), b=("a",), c=("a",), e=())) == [["a", "e"], ["b", "c"], ["d"]]


def test_the_longest_chain_follows_the_estimates() -> None:
    assert longest_chain(plan(a=(), b=("a",), c=("b",), x=())) == ["a", "b", "c"]


def test_a_plan_is_shown_with_levels_and_chain() -> None:
    assert plan_lines(plan(a=(), b=("a",)), ["inputs: 0 files"]) == [
        "plan: P", "inputs: 0 files", "2 tasks in 2 levels, at most 1 at once", "  1. a", "  2. b", "longest chain: a -> b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185, "3:05"), (7384, "2:03:04")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_text_of_tasks_cannot_move_the_cursor() -> None:
    assert clean("a\x1b[2Jb\nc") == "a [2Jb c"


def test_columns_are_aligned() -> None:
    assert table(("a", "b"), [("long", "x")]) == ["a     b", "long  x"]


@given(st.text(max_size=200))
def test_run_ids_are_always_legal(name: str) -> None:
    assert is_run_id(new_run_id(name))


def test_names_become_slugs_at_word_borders() -> None:
    assert slug("Build todo list with backend and frontend", 20) == "build-todo-list-with"
    assert slug("Größe: ÄÖÜ!", 20) == "groe-aou"
    assert slug("!!!", 20) == "run"
    assert short_name("a\n b " + "x" * 100).startswith("a b xxx")
