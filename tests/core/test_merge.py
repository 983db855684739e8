import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_core.merge import UNRESOLVED, Merged, merge_trees, overlay, refused_path
from pto_proto.ids import Digest, TaskId
from pto_proto.manifests import Manifest, ManifestFile, Tree, TreeFile
from pto_proto.requests import OnConflict


def file(path: str, content: str, task: str, *over: str, **more: Any) -> TreeFile:
    return TreeFile(
        path=path,
        sha256=Digest(content),
        size=1,
        bundle=Digest(f"bundle-{task}"),
        task=TaskId(task),
        over=tuple(TaskId(name) for name in over),
        **more,
    )


def tree(*files: TreeFile) -> Tree:
    return Tree(files=tuple(sorted(files, key=lambda file: file.path)))


def shown(merged: Merged) -> dict[str, tuple[str, str]]:
    return {file.path: (file.sha256, file.task) for file in merged.files}


def manifest(task: str, **contents: str) -> Manifest:
    files = tuple(ManifestFile(path=path, sha256=Digest(text), size=1) for path, text in sorted(contents.items()))
    return Manifest(bundle=Digest(f"bundle-{task}"), files=files)


def test_files_of_different_tasks_are_put_side_by_side_in_order() -> None:
    merged = merge_trees([tree(file("b", "1", "x")), tree(file("a", "2", "y"))])
    assert [found.path for found in merged.files] == ["a", "b"]
    assert merged.conflicts == ()


def test_no_trees_merge_to_nothing() -> None:
    assert merge_trees([]) == Merged(files=())


def test_identical_content_is_one_file_from_the_smallest_task() -> None:
    merged = merge_trees([tree(file("a", "1", "y", "o")), tree(file("a", "1", "x", "p"))])
    assert merged.files == (file("a", "1", "x", "o", "p"),)
    assert merged.conflicts == ()


def test_same_content_with_another_mode_is_a_conflict() -> None:
    merged = merge_trees([tree(file("a", "1", "x")), tree(file("a", "1", "y", mode=0o755))])
    assert [conflict.path for conflict in merged.unresolved] == ["a"]


@pytest.mark.parametrize("on_conflict", ["fail", "latest", "keep-both"])
def test_descendant_wins_over_its_ancestor_in_either_order(on_conflict: OnConflict) -> None:
    ancestor, descendant = tree(file("a", "1", "x")), tree(file("a", "2", "y", "x"))
    for trees in ([ancestor, descendant], [descendant, ancestor]):
        merged = merge_trees(trees, on_conflict)
        assert merged.files == descendant.files
        assert merged.conflicts == ()


def test_descendant_that_went_back_to_the_first_content_wins() -> None:
    trees = [tree(file("a", "1", "x")), tree(file("a", "2", "y", "x")), tree(file("a", "1", "z", "x", "y"))]
    for order in itertools.permutations(trees):
        assert shown(merge_trees(order)) == {"a": ("1", "z")}


def test_conflict_is_listed_and_the_path_left_out_under_fail() -> None:
    merged = merge_trees([tree(file("a", "1", "y"), file("b", "1", "y")), tree(file("a", "2", "x"))], "fail")
    assert shown(merged) == {"b": ("1", "y")}
    assert [(found.path, found.tasks, found.resolution) for found in merged.conflicts] == [
        ("a", ("x", "y"), UNRESOLVED)
    ]


def test_later_dependency_wins_under_latest_and_remembers_it() -> None:
    merged = merge_trees([tree(file("a", "1", "y")), tree(file("a", "2", "x"))], "latest")
    assert merged.files == (file("a", "2", "x", "y"),)
    assert merged.unresolved == ()
    assert len(merged.conflicts) == 1
    again = merge_trees([Tree(files=merged.files), tree(file("a", "1", "y"))], "fail")
    assert again.conflicts == ()


def test_branches_that_settled_a_conflict_differently_are_in_conflict_again() -> None:
    one, other = tree(file("a", "1", "x")), tree(file("a", "2", "y"))
    left = Tree(files=merge_trees([one, other], "latest").files)
    right = Tree(files=merge_trees([other, one], "latest").files)
    assert [found.path for found in merge_trees([left, right], "fail").unresolved] == ["a"]
    assert shown(merge_trees([left, right], "latest")) == {"a": ("1", "x")}


def test_keep_both_stores_the_second_under_a_name_with_its_task() -> None:
    merged = merge_trees([tree(file("src/a.py", "1", "y")), tree(file("src/a.py", "2", "x"))], "keep-both")
    assert merged.files == (
        file("src/a.py", "1", "y", "x"),
        file("src/a.x.py", "2", "x", member="src/a.py"),
    )


def test_keep_both_never_hides_another_file() -> None:
    taken = file("a.x.py", "3", "z")
    merged = merge_trees([tree(file("a.py", "1", "y"), taken), tree(file("a.py", "2", "x"))], "keep-both")
    assert shown(merged) == {"a.py": ("1", "y"), "a.x.py": ("3", "z"), "a.x-2.py": ("2", "x")}


def test_file_against_folder_is_a_conflict() -> None:
    flat, deep = tree(file("a", "1", "x")), tree(file("a/b", "2", "y"), file("c", "1", "y"))
    failed = merge_trees([flat, deep], "fail")
    assert shown(failed) == {"c": ("1", "y")}
    assert [(found.path, found.tasks) for found in failed.unresolved] == [("a", ("x", "y"))]
    assert shown(merge_trees([flat, deep], "latest")) == {"a/b": ("2", "y"), "c": ("1", "y")}
    assert shown(merge_trees([deep, flat], "latest")) == {"a": ("1", "x"), "c": ("1", "y")}
    both = merge_trees([flat, deep], "keep-both")
    assert shown(both) == {"a.x": ("1", "x"), "a/b": ("2", "y"), "c": ("1", "y")}


def test_descendant_may_replace_a_file_by_a_folder() -> None:
    parent = tree(file("a", "1", "x"))
    child = overlay(parent.files, manifest("y", **{"a/b": "2"}), TaskId("y"))
    assert [found.path for found in child.files] == ["a/b"]
    assert merge_trees([parent, child]).files == child.files


def test_descendant_may_replace_a_folder_by_a_file() -> None:
    parent = tree(file("a/b", "1", "x"), file("ab", "1", "x"))
    child = overlay(parent.files, manifest("y", a="2"), TaskId("y"))
    assert [found.path for found in child.files] == ["a", "ab"]


def test_own_outputs_lie_over_what_the_task_saw() -> None:
    seen = tree(file("a", "1", "x", "w"), file("b", "1", "x"))
    own = overlay(seen.files, manifest("y", a="2", c="3"), TaskId("y"))
    assert own.files == (file("a", "2", "y", "w", "x"), file("b", "1", "x"), file("c", "3", "y"))


def test_confined_paths_are_accepted() -> None:
    for path in ("a", "src/main.py", "a..b", "..a", "ü/é.txt", "with space", ".hidden", "x" * 255):
        assert refused_path(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "a/../b", "../a", "a//b", "a/", "./a", "a\\..\\b", "a\nb", "a\0b", "\x7f", "\x9b1m"],
)
def test_escaping_or_odd_paths_are_refused_with_a_reason(path: str) -> None:
    assert refused_path(path)


@pytest.mark.parametrize("path", ["x" * 256, "x/" * 150 + "y", "bad\udcff"])
def test_names_no_file_system_takes_are_refused_with_a_reason(path: str) -> None:
    assert refused_path(path)


FILES = st.builds(
    lambda path, content, task, over: file(path, content, task, *sorted(over - {task})),
    st.sampled_from(["a", "a/b", "a/b/c", "b", "b.x"]),
    st.sampled_from("123"),
    st.sampled_from("xyz"),
    st.sets(st.sampled_from("xyz"), max_size=2),
)
TREES = st.lists(FILES, max_size=4, unique_by=lambda file: file.path).map(lambda files: tree(*files))


@given(st.lists(TREES, min_size=2, max_size=4), st.sampled_from(["fail", "latest", "keep-both"]))
def test_merged_view_can_be_laid_out_in_a_folder(trees: list[Tree], on_conflict: OnConflict) -> None:
    merged = merge_trees(trees, on_conflict)
    paths = [found.path for found in merged.files]
    assert paths == sorted(set(paths))
    assert not any(other.startswith(path + "/") for path in paths for other in paths)
    assert merge_trees(trees, on_conflict) == merged
    assert bool(merged.unresolved) == bool(merged.conflicts and on_conflict == "fail")
