"""Which files make the project, and where they go."""

import pytest

from pto_core.consolidation import consolidate, place_of, tree_digest
from pto_core.merge import merge_parents
from pto_proto.ids import Digest, TaskId, digest_of
from pto_proto.manifests import Tree, TreeFile


def file(path: str, task: str, content: str = "", over: tuple[str, ...] = ()) -> TreeFile:
    digest = digest_of((content or task).encode())
    return TreeFile(
        path=path,
        sha256=digest,
        size=1,
        bundle=Digest(f"bundle-{task}"),
        task=TaskId(task),
        over=tuple(map(TaskId, over)),
    )


def tree(*files: TreeFile) -> Tree:
    return Tree(files=tuple(sorted(files, key=lambda file: file.path)))


@pytest.mark.parametrize(("path", "place"), [
    ("src/a/b.py", "src/a/b.py"), ("tests/test_a.py", "tests/test_a.py"), ("docs/x.png", "docs/x.png"),
    ("pytest.ini", "pytest.ini"), ("Makefile", "Makefile"), ("a.py", "src/a.py"), ("lib/a.js", "src/lib/a.js"),
    ("test_a.py", "tests/test_a.py"), ("notes.md", "docs/notes.md"), ("report.json", "data/report.json"),
    ("out/x.sqlite", "data/out/x.sqlite"), ("data/x.csv", "data/x.csv"), ("src", "data/src"), ("LICENSE", "LICENSE"),
    ("requirements-test.txt", "requirements-test.txt"), ("package-lock.json", "package-lock.json"),
    (".github/workflows/ci.yml", ".github/workflows/ci.yml"), ("go.mod", "go.mod"), ("notes.txt", "data/notes.txt"),
    ("app/requirements.txt", "data/app/requirements.txt"), ("docker-compose.dev.yml", "docker-compose.dev.yml"),
])  # fmt: skip
def test_only_strays_are_sorted(path: str, place: str) -> None:
    assert place_of(path) == place


def test_a_descendants_version_wins_and_equal_ones_are_one() -> None:
    merged = consolidate(
        [
            tree(file("src/a", "a", "1"), file("src/c", "a", "same")),
            tree(file("src/a", "b", "2", over=("a",)), file("src/c", "b", "same")),
        ],
        "fail",
    )
    assert [(f.path, f.task) for f in merged.files] == [("src/a", "b"), ("src/c", "a")]
    assert merged.conflicts == ()


def test_a_conflict_is_left_out_taken_or_kept_twice_as_asked() -> None:
    trees = [tree(file("src/a.py", "one", "1")), tree(file("src/a.py", "two", "2"))]
    failed = consolidate(trees, "fail")
    assert failed.files == ()
    assert [(c.path, c.resolution) for c in failed.conflicts] == [("src/a.py", "unresolved")]
    assert [f.task for f in consolidate(trees, "latest").files] == ["two"]
    assert [f.path for f in consolidate(trees, "keep-both").files] == ["src/a.py", "src/a.two.py"]


def test_the_latest_version_is_that_of_the_last_task_in_the_plan_wherever_it_was_handed_on() -> None:
    from_b = tree(file("src/x", "b"), file("README.md", "b"), file("src/c", "c"))
    from_a = tree(file("src/x", "a"), file("README.md", "a"), file("src/d", "d"))
    order = [TaskId(task) for task in "abcd"]
    for trees in ([from_b, from_a], [from_a, from_b]):
        merged = consolidate(trees, "latest", order)
        assert [f.task for f in merged.files if f.path == "src/x"] == ["b"]
        assert merged.conflicts[0].resolution == "the version of b was taken"
        assert [f.task for f in merged.readmes] == ["a", "b"]


def test_a_conflict_settled_on_the_way_stays_settled() -> None:
    settled = tree(file("src/x", "b", over=("a",)), file("src/c", "c"))
    as_it_was = tree(file("src/x", "b"), file("src/d", "d"))
    first = tree(file("src/x", "a"), file("src/e", "e"))
    merged = consolidate([settled, as_it_was, first], "fail", [TaskId(task) for task in "abcde"])
    assert merged.conflicts == ()
    assert [f.task for f in merged.files if f.path == "src/x"] == ["b"]


def test_readmes_are_joined_and_never_conflict() -> None:
    merged = consolidate([tree(file("README.md", "a", "1")), tree(file("README.md", "b", "2"))], "fail")
    assert merged.files == ()
    assert merged.conflicts == ()
    assert [f.task for f in merged.readmes] == ["a", "b"]


def test_a_readme_that_a_later_task_rewrote_counts_once() -> None:
    merged = consolidate([tree(file("README.md", "a", "1")), tree(file("README.md", "b", "2", over=("a",)))], "fail")
    assert [f.task for f in merged.readmes] == ["b"]


def test_a_readme_replaced_on_one_way_is_replaced_whichever_tree_comes_first() -> None:
    settled = tree(file("README.md", "b", over=("a",)), file("src/c", "c"))
    others = [tree(file("README.md", "b"), file("src/d", "d")), tree(file("README.md", "a"), file("src/e", "e"))]
    for trees in ([settled, *others], [*others, settled]):
        assert [f.task for f in consolidate(trees, "latest").readmes] == ["b"]


def test_readmes_that_met_on_the_way_are_both_joined() -> None:
    parents = [tree(file("README.md", "a")), tree(file("README.md", "b"))]
    seen = merge_parents(parents, "fail")
    assert seen.conflicts == ()
    merged = consolidate([tree(*seen.files, file("src/c", "c"))], "fail", [TaskId(task) for task in "abc"])
    assert [f.task for f in merged.readmes] == ["a", "b"]
    assert [f.path for f in merged.files] == ["src/c"]


def test_names_of_the_orchestrator_are_refused_and_listed() -> None:
    names = [
        "execution_plan.json",
        "executor_0/x",
        "events.jsonl",
        "planner/x",
        ".slurm_state/jobs.json",
        "../x",
        "docs/execution.md",
    ]
    merged = consolidate([tree(*(file(name, "a", name) for name in names), file("src/ok", "a"))], "fail")
    assert [f.path for f in merged.files] == ["src/ok"]
    assert len(merged.refused) == len(names)


def test_a_stray_never_hides_a_file_that_stays() -> None:
    merged = consolidate([tree(file("a.py", "one", "1"), file("src/a.py", "two", "2"))], "fail")
    assert [(f.path, f.member) for f in merged.files] == [("src/a.one.py", "a.py"), ("src/a.py", "")]


def test_the_tree_digest_does_not_tell_where_files_came_from() -> None:
    one = tree_digest([file("b", "x", "1"), file("a", "y", "2")])
    assert one == tree_digest([file("a", "z", "2"), file("b", "z", "1")])
    assert one != tree_digest([file("a", "z", "2"), file("b", "z", "3")])
