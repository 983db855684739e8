"""A red check is traced to the task that the failure needs, within 1 + ceil(log2(N)) merged trees, or to nobody."""

import math
from pathlib import Path

import pytest
from test_consolidator import Merge

from pto_consolidator.failure import is_same_failure, telling_lines
from pto_consolidator.suspects import suspects_of
from pto_core.movements import lay_out
from pto_core.state import PlanParts, Run
from pto_ports.blob_store import BlobMissing
from pto_proto import events as ev
from pto_proto.ids import Digest, RunId, TaskId
from pto_proto.manifests import TreeFile
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested
from pto_proto.results import CheckResult


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    return Merge(tmp_path)


def agent(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), agent="write it", depends_on=tuple(map(TaskId, after)))


def command(name: str, *after: str) -> TaskSpec:
    return TaskSpec(id=TaskId(name), command="make", depends_on=tuple(map(TaskId, after)))


async def merged(merge: Merge) -> ev.RunConsolidated:
    found, finished = await merge.merge()
    assert found is not None, finished.reason
    return found


def bound(tasks: int) -> int:
    return 1 + math.ceil(math.log2(tasks))


@pytest.mark.parametrize("broken", [0, 1, 7, 14, 15])
async def test_one_of_sixteen_is_found_within_five_merged_trees(merge: Merge, broken: int) -> None:
    counter = merge.folder / "built"
    check = f"echo x >> {counter}; grep -l BROKEN src/*.py && exit 1; exit 0"
    # Unconfined, because the check counts how often it runs, outside of its folder.
    await merge.begin(*(agent(f"t{n}") for n in range(16)), checks=(check,), sandbox="none")
    for number in range(16):
        await merge.end(f"t{number}", {f"src/m{number}.py": "BROKEN\n" if number == broken else "fine\n"})
    found = await merged(merge)
    assert found.culprit == f"t{broken}"
    assert found.merged_builds <= bound(16) == 5
    # Besides those it looked into a folder without any task's files, if nothing else was seen to pass.
    assert len(counter.read_text().split()) <= found.merged_builds + (broken == 15)
    assert "ended with exit code 1. Without the files of this task it passes." in found.evidence
    assert f"src/m{broken}.py" in found.evidence


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
async def test_the_bound_holds_with_files_that_no_agent_made(merge: Merge, count: int) -> None:
    specs = [command("base"), *(agent(f"t{n}", "base") for n in range(count))]
    for broken in range(count):
        merge = Merge(merge.folder / f"{broken}")
        merge.folder.mkdir()
        await merge.begin(*specs, checks=("! cat src/* | grep BROKEN",))
        await merge.end("base", {"src/base.txt": "base\n"})
        for number in range(count):
            text = "BROKEN\n" if number == broken else "fine\n"
            await merge.end(f"t{number}", {f"src/t{number}.txt": text}, after=("base",))
        found = await merged(merge)
        assert (found.culprit, found.merged_builds <= bound(count + 1)) == (f"t{broken}", True)


async def test_a_file_that_a_later_task_broke_is_traced_to_it_by_the_version_before(merge: Merge) -> None:
    await merge.begin(agent("first"), agent("second", "first"), agent("third"), checks=("grep -q good src/m.txt",))
    await merge.end("first", {"src/m.txt": "good\n"})
    await merge.end("second", {"src/m.txt": "bad\n"}, after=("first",))
    await merge.end("third", {"src/n.txt": "n\n"})
    found = await merged(merge)
    assert found.culprit == "second"
    assert "it passes" in found.evidence


async def test_a_check_whose_subject_is_missing_is_no_evidence(merge: Merge) -> None:
    """The check needs the last task's files: without them it fails too, but not in that way."""
    check = "python3 tests/run.py"
    run = "import pathlib\nfor n in (1, 2, 3):\n    assert pathlib.Path(f'src/t{n}.txt').read_text() == 'good\\n', n\n"
    names = ("t1", "t2", "t3")
    await merge.begin(*map(agent, names), agent("tester", "t1"), checks=(check,))
    for name in names:
        await merge.end(name, {f"src/{name}.txt": "bad\n" if name == "t2" else "good\n"})
    await merge.end("tester", {"tests/run.py": run}, after=("t1",))
    found = await merged(merge)
    assert found.culprit == "t2"
    assert "it fails in another way" in found.evidence
    assert "AssertionError: 2" in found.evidence


async def test_what_a_command_made_of_an_agents_files_goes_with_them(merge: Merge) -> None:
    await merge.begin(agent("source"), command("built", "source"), agent("other"), checks=("! grep BAD data/*",))
    await merge.end("source", {"src/s.c": "s\n"})
    await merge.end("built", {"data/b.txt": "BAD\n"}, after=("source",))
    await merge.end("other", {"src/o.c": "o\n"})
    assert (await merged(merge)).culprit == "source"


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("exit 3", "it fails the same way without the files of any agent"),
        ("no-such-program", "the check itself cannot be run"),
        ("cat src/base.txt; exit 1", "it fails the same way without the files of any agent"),
    ],
)
async def test_who_is_not_to_blame_is_not_named(merge: Merge, check: str, why: str) -> None:
    await merge.begin(command("base"), agent("a", "base"), agent("b", "base"), checks=(check,))
    await merge.end("base", {"src/base.txt": "base\n"})
    for name in ("a", "b"):
        await merge.end(name, {f"src/{name}.txt": "x\n"}, after=("base",))
    found = await merged(merge)
    assert (found.culprit, found.evidence) == ("", f"it was traced to no task: {why}")
    assert found.merged_builds <= bound(3)


async def test_a_check_that_fails_without_any_file_blames_nobody(merge: Merge) -> None:
    await merge.begin(agent("a"), checks=("exit 1",))
    await merge.end("a", {"src/a.txt": "x\n"})
    found = await merged(merge)
    assert (found.culprit, found.merged_builds) == ("", 1)


async def test_nothing_is_searched_when_tasks_are_missing(merge: Merge) -> None:
    await merge.begin(agent("a"), agent("b"), checks=("! cat src/a.txt",), max_retries=0)
    await merge.end("a", {"src/a.txt": "x\n"})
    await merge.end("b", failed=True)
    found = await merged(merge)
    assert (found.culprit, found.evidence) == ("", "it was traced to no task: tasks are missing")
    assert found.merged_builds == 1


async def test_nothing_is_searched_when_tasks_disagree(merge: Merge) -> None:
    await merge.begin(agent("a"), agent("b"), checks=("cat src/a.txt",))
    for name in ("a", "b"):
        await merge.end(name, {"src/a.txt": name})
    found = await merged(merge)
    assert (found.culprit, found.evidence) == ("", "it was traced to no task: there are conflicts to be settled first")


async def test_outputs_that_are_gone_leave_the_merge_as_it_is(merge: Merge) -> None:
    await merge.begin(agent("a"), agent("b", "a"), checks=("! cat src/b.txt",))
    await merge.end("a", {"src/a.txt": "x\n"})
    await merge.end("b", {"src/b.txt": "x\n"}, after=("a",))
    gone = merge.trees["a"][0]
    honest = merge.blobs.get

    async def get(digest: str) -> bytes:
        if digest == gone:
            raise BlobMissing(f"no blob {digest}")
        return await honest(digest)

    merge.blobs.get = get
    found = await merged(merge)
    assert (found.culprit, found.checks[0].passed) == ("", False)
    assert "what the search needs cannot be fetched" in found.evidence


async def test_a_green_merge_is_one_build_and_names_nobody(merge: Merge) -> None:
    await merge.begin(agent("a"), checks=("test -f src/a.txt",))
    await merge.end("a", {"src/a.txt": "x\n"})
    found = await merged(merge)
    assert (found.culprit, found.evidence, found.merged_builds) == ("", "", 1)


# --- the same failure ------------------------------------------------------------------------------------------------


def red(*tail: str, code: int | None = 1) -> CheckResult:
    return CheckResult(command="pytest", passed=False, exit_code=code, tail=tail)


WHOLE = red(
    "E   assert 1 == 2", "==== short test summary info ====", "FAILED tests/test_a.py::test_x", "1 failed in 0.1s"
)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (red("E   assert 1 == 2", "FAILED tests/test_a.py::test_x", "1 failed, 9 passed in 3.2s"), True),
        (red("FAILED tests/test_a.py::test_x", "FAILED tests/test_b.py::test_y", "2 failed in 0.1s"), True),
        (red("E   assert 1 == 2", "FAILED tests/test_b.py::test_y", "1 failed in 0.1s"), False),
        (red("==== short test summary info ====", "FAILED tests/test_b.py::test_y", "1 failed in 0.1s"), False),
        (red("ERROR tests/test_a.py - ModuleNotFoundError", code=2), False),
        (red("FAILED tests/test_a.py::test_x", code=2), False),
        (red(), False),
        (CheckResult(command="pytest", passed=True, exit_code=0), False),
    ],
)
def test_a_failure_is_known_by_its_exit_code_and_its_last_word(other: CheckResult, is_same: bool) -> None:
    assert is_same_failure(WHOLE, other) is is_same


@pytest.mark.parametrize(
    ("tail", "word"),
    [
        (("FAIL: test_x (tests.T)", "AssertionError: 1 != 2", "-" * 70, "Ran 3 tests in 0.1s", "FAILED (failures=1)"),
         "AssertionError: 1 != 2"),
        (("--- FAIL: TestX (0.00s)", "FAIL", "exit status 1", "FAIL\tpkg\t0.01s"), "--- FAIL: TestX (#)"),
        (("src/a.c:3: error: expected ';'", "make: *** [Makefile:2: all] Error 1"), "src/a.c:3: error: expected ';'"),
        (("src/m7.py:BROKEN",), "src/m7.py:BROKEN"),
    ],
)  # fmt: skip
def test_the_last_word_is_what_the_program_says_itself(tail: tuple[str, ...], word: str) -> None:
    assert telling_lines(red(*tail))[-1] == word


def test_durations_and_addresses_make_no_difference() -> None:
    assert is_same_failure(red("Error: <A at 0x7f00> took 3.4 s"), red("Error: <A at 0x7e11> took 9 s"))
    assert is_same_failure(red(), red())


# --- the order of suspicion ------------------------------------------------------------------------------------------


def run_of(*specs: TaskSpec) -> Run:
    run = Run(RunId("run-one"), RunRequested(run=RunId("run-one")), seq=1, at=1, content_digest=Digest("c"))
    parts = PlanParts()
    parts.parts[0] = specs
    lay_out(run, parts)
    return run


def made(**files: str) -> dict[TaskId, list[TreeFile]]:
    return {
        TaskId(name): [TreeFile(path=path, sha256=Digest("s"), size=1, bundle=Digest("b"), task=TaskId(name))]
        for name, path in files.items()
    }


def test_tests_come_first_and_what_the_output_names_last() -> None:
    run = run_of(agent("api"), agent("web", "api"), agent("check", "web"), agent("store"), command("pack", "web"))
    files = made(
        api="src/api.py", web="src/web/page.js", check="tests/test_all.py", store="src/store.py", pack="data/x.zip"
    )
    output = "FAILED tests/test_all.py::test_x\n  File store.py\n  src/api.py:3: ValueError"
    found = suspects_of(run, files, output)
    assert found.order == ("check", "web", "store", "api")
    assert found.needs == {"check": 1, "web": 2, "store": 3, "api": 4, "pack": 4}
    assert suspects_of(run, files, "").order == ("check", "api", "store", "web")
