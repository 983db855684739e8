"""Strays find a place of their own: nothing is hidden, nothing is lost, nothing breaks the folder."""

import pytest

from pto_core.consolidation import Consolidated, consolidate
from pto_proto.ids import Digest, TaskId, digest_of
from pto_proto.manifests import Tree, TreeFile


def made(path: str, task: str = "a", over: tuple[str, ...] = ()) -> TreeFile:
    return TreeFile(
        path=path, sha256=digest_of(f"{path}{task}".encode()), size=1, bundle=Digest(f"bundle-{task}"),
        task=TaskId(task), over=tuple(map(TaskId, over)),
    )  # fmt: skip


def put(*files: TreeFile) -> Consolidated:
    return consolidate([Tree(files=tuple(sorted(files, key=lambda file: file.path)))], "fail")


def paths(merged: Consolidated) -> list[str]:
    return [file.path for file in merged.files]


@pytest.mark.parametrize(
    "names",
    [
        ("out", "data/out/r.csv"),
        ("data/out", "out/r.csv"),
        ("execution.md",),
        ("docs/execution.md/x",),
        ("a.py", "src/a.py", "src/a.a.py"),
        ("src", "data/src/x.csv"),
    ],
)
def test_no_name_is_taken_twice_and_none_is_file_and_folder(names: tuple[str, ...]) -> None:
    merged = put(*map(made, names))
    placed = paths(merged)
    assert len(set(placed)) == len(placed) == len(names)
    assert merged.refused == ()
    taken = {*placed, "README.md", "docs/execution.md", "execution_plan.json"}
    assert len(taken) == len(names) + 3
    assert not any(other.startswith(f"{name}/") for name in taken for other in taken)


def test_data_beside_stray_source_stays_beside_it() -> None:
    merged = put(made("app/main.py"), made("app/templates/index.html"), made("out/report.json"))
    assert paths(merged) == ["data/out/report.json", "src/app/main.py", "src/app/templates/index.html"]


def test_what_is_too_long_at_its_new_place_is_listed_and_not_taken() -> None:
    name = "d" * 200 + "/" + "f" * 98
    merged = put(made(name))
    assert merged.files == ()
    assert merged.refused == (f"{name} of a: there is no free name for it",)


def test_reserved_names_of_two_tasks_are_refused_and_no_conflict() -> None:
    merged = consolidate([Tree(files=(made("events.jsonl", task),)) for task in "ab"], "fail")
    assert merged.conflicts == ()
    assert len(merged.refused) == 2


def test_readmes_that_replaced_each_other_are_both_kept() -> None:
    one, two = made("README.md", "a", over=("b",)), made("README.md", "b", over=("a",))
    merged = consolidate([Tree(files=(one,)), Tree(files=(two,))], "fail")
    assert [file.task for file in merged.readmes] == ["a", "b"]
