"""Plans and names as people see them: pure."""

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_cli.naming import new_run_id, short_name, slug
from pto_cli.plan_tree import MAX_LINES, tree_lines
from pto_cli.render import clean, duration, levels, longest_chain, plan_lines, table
from pto_cli.terminal import NoEditor, editor_command
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


def test_dependencies_are_drawn_as_a_tree_and_each_task_once() -> None:
    drawn = plan(a=(), b=("a",), c=("a",), d=("b", "c"), e=("d",), x=(), y=("x",))
    assert tree_lines(drawn, 80) == [
        "a", "├─ b", "└─ c → d (also after b) → e", "x → y",
    ]  # fmt: skip


def test_a_chain_that_is_too_long_for_its_line_goes_on_below() -> None:
    chain = plan(**{"first": (), "second": ("first",), "third": ("second",), "fourth": ("third",)})
    assert tree_lines(chain, 24) == ["first → second → third", "└─ fourth"]


def test_a_picture_counts_what_it_leaves_out() -> None:
    wide = plan(top=(), **{f"t{at}": ("top",) for at in range(500)})
    lines = tree_lines(wide, 80)
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == f"and {501 - MAX_LINES} tasks more"


@given(st.integers(1, 60), st.randoms(use_true_random=False), st.integers(30, 120))
def test_any_picture_fits_and_names_every_task_or_counts_it(count: int, random: Random, width: int) -> None:
    names = [f"task-{at}" for at in range(count)]
    drawn = plan(**{name: tuple(n for n in names[:at] if random.random() < 0.1) for at, name in enumerate(names)})
    lines = tree_lines(drawn, width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= MAX_LINES + 1 + count
    heads = re.findall(r"(?:^|→ |─ )(task-\d+)", re.sub(r" \(also after [^)]*\)", "", "\n".join(lines)), re.MULTILINE)
    assert len(heads) == len(set(heads))
    more = re.search(r"^and (\d+) tasks? more$", lines[-1])
    if "..." not in "".join(lines):
        assert len(heads) + (int(more[1]) if more else 0) == count


def test_an_editor_is_found_where_people_say_or_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert editor_command({"EDITOR": "code --wait", "VISUAL": ""}) == ["code", "--wait"]
    assert editor_command({"EDITOR": "nano", "VISUAL": "vim -n"}) == ["vim", "-n"]
    with pytest.raises(NoEditor, match="EDITOR is not a command"):
        editor_command({"EDITOR": "'"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoEditor, match="there is no editor; name one in EDITOR"):
        editor_command({})
