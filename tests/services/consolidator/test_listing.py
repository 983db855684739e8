"""The lists of RunConsolidated stay small and honest."""

import msgspec

from pto_consolidator.listing import LIST_BYTES, shorten_checks, shorten_conflicts, shorten_refused
from pto_core.merge import UNRESOLVED
from pto_proto.ids import TaskId
from pto_proto.results import CheckResult, Conflict


def test_a_path_that_ten_thousand_tasks_wrote_names_a_few() -> None:
    tasks = tuple(TaskId(f"task-{number}") for number in range(10_000))
    (only,) = shorten_conflicts([Conflict(path="result.json", tasks=tasks, resolution=UNRESOLVED)])
    assert only.tasks == tasks[:20]
    assert only.resolution == UNRESOLVED


def test_many_conflicts_and_refusals_are_cut_and_counted() -> None:
    conflicts = shorten_conflicts(
        [Conflict(path=f"{number:0300}", tasks=(), resolution=UNRESOLVED) for number in range(5_000)]
    )
    refused = shorten_refused([f"{number:0300}: the path is absolute" for number in range(5_000)])
    assert len(msgspec.json.encode(conflicts)) < LIST_BYTES + 200
    assert len(msgspec.json.encode(refused)) < LIST_BYTES + 200
    assert conflicts[-1].path == f"({5_001 - len(conflicts)} more paths)"
    assert refused[-1].startswith(f"({5_001 - len(refused)} more")


def test_a_failed_check_stays_in_the_list_without_its_output() -> None:
    checks = [CheckResult(command="c" * 5_000, passed=False, tail=("x" * 300,) * 20) for _ in range(50)]
    cut = shorten_checks(checks)
    assert [check.passed for check in cut] == [False] * 50
    assert len(msgspec.json.encode(cut)) < 2 * LIST_BYTES
    assert cut[0].tail
    assert not cut[-1].tail


def test_short_lists_stay_as_they_are() -> None:
    conflict = Conflict(path="a", tasks=(TaskId("x"), TaskId("y")), resolution="one was taken")
    check = CheckResult(command="make", passed=True, exit_code=0)
    assert shorten_conflicts([conflict]) == (conflict,)
    assert shorten_refused(["a: b"]) == ("a: b",)
    assert shorten_checks([check]) == (check,)
