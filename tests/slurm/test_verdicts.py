"""Each row of the state table, by what is seen of a job and what follows from it."""

from typing import Any

import pytest

from pto_slurm.evidence import SIGNS, Evidence
from pto_slurm.pending import what_it_needs
from pto_slurm.pooled import POOLED_ROWS
from pto_slurm.verdicts import ROWS, JobFacts, Verdict, judge
from pto_slurm.words import WORDS

FACTS = JobFacts(job="744", memory_mb=4096, minutes=60)
SUCCEEDED = {"outcome": "succeeded", "failure": None, "exit_code": 0}
FAILED_3 = {"outcome": "failed", "failure": "task", "exit_code": 3}
KILLED = {"outcome": "failed", "failure": "task", "exit_code": 137}
CUT_OFF = {"outcome": "cancelled", "failure": "cancelled", "exit_code": 143}
OUT_OF_TIME = {"outcome": "failed", "failure": "timeout", "exit_code": 143}
LATE = {"ended_s": 61.0}
NEAR = {"ran_s": 3500.0, "limit_s": 3600.0}
GONE = {"absent_polls": 3, "absent_s": 60.0}


def seen(state: str, **more: Any) -> Verdict:
    return judge(Evidence(state=state, node="n2", **more), FACTS)


@pytest.mark.parametrize(
    ("state", "more", "kind"),
    [
        ("PENDING", {"reason": "Priority"}, "queued"),
        ("PENDING", {"reason": "QOSMaxJobsPerUserLimit", "same_polls": 99}, "queued"),
        ("PENDING", {"reason": "BeginTime"}, "queued"),
        ("PENDING", {"reason": "PartitionDown", "same_polls": 99}, "queued"),
        ("PENDING", {"reason": "JobHeldUser", "same_polls": 99}, "queued"),
        ("PENDING", {"reason": "PartitionConfig", "same_polls": 1}, "queued"),
        ("CONFIGURING", {}, "provisioning"),
        ("RUNNING", {}, "running"),
        ("COMPLETING", {}, "running"),
        ("SUSPENDED", {}, "suspended"),
        ("STOPPED", {}, "suspended"),
        ("COMPLETED", {}, "running"),
        ("COMPLETED", {"ended_s": 59.0}, "running"),
        ("FAILED", {"exit_code": 3}, "running"),
        ("RUNNING", {"result": SUCCEEDED}, "result"),
        ("FAILED", {"result": FAILED_3, "exit_code": 0}, "result"),
        ("RUNNING", {"result": FAILED_3}, "result"),
        ("NODE_FAIL", {"result": SUCCEEDED}, "result"),
        ("", {"result": SUCCEEDED}, "result"),
        ("", {"result": KILLED}, "result"),
        ("COMPLETED", {"result": KILLED}, "result"),
        ("RUNNING", {"result": KILLED}, "running"),
        ("RUNNING", {"result": CUT_OFF}, "running"),
        ("COMPLETED", {"result": SUCCEEDED, "ours": True}, "result"),
        ("", {}, "wait"),
        ("", {"absent_polls": 3, "absent_s": 59.0}, "wait"),
        ("", {"absent_polls": 2, "absent_s": 600.0}, "wait"),
    ],
)
def test_what_goes_on_or_is_told_by_the_executor(state, more, kind):
    verdict = seen(state, **more)
    assert (verdict.kind, verdict.word, verdict.warning) == (kind, "", "")


ENDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("PENDING", {"reason": "PartitionConfig", "same_polls": 2}, "unsatisfiable:PartitionConfig", "config"),
    ("PENDING", {"reason": "PartitionTimeLimit", "same_polls": 2}, "unsatisfiable:PartitionTimeLimit", "config"),
    ("PENDING", {"reason": "QOSMaxCpuPerJobLimit", "same_polls": 2}, "unsatisfiable:QOSMaxCpuPerJobLimit", "config"),
    ("PENDING", {"reason": "AssocMaxWallDurationPerJobLimit", "same_polls": 2}, "unsatisfiable:AssocMaxWallDurationPerJobLimit", "config"),
    ("PENDING", {"reason": "InvalidAccount", "same_polls": 2}, "unsatisfiable:InvalidAccount", "config"),
    ("PENDING", {"reason": "BadConstraints", "same_polls": 2}, "unsatisfiable:BadConstraints", "config"),
    ("PENDING", {"reason": "DependencyNeverSatisfied"}, "dependency", "infra"),
    ("PENDING", {"reason": "JobHeldAdmin", "same_polls": 2}, "held", "config"),
    ("PENDING", {"reason": "launch failed requeued held", "same_polls": 2}, "launch_failed", "infra"),
    ("OUT_OF_MEMORY", {"signal": 125}, "oom", "task"),
    ("OUT_OF_MEMORY", {"result": KILLED}, "oom", "task"),
    ("FAILED", {"signal": 9, "stderr": "slurmstepd: error: Job 744 exceeded memory limit (5 > 4), being killed"}, "oom", "task"),
    ("FAILED", {"result": KILLED, "stderr": "Detected 1 oom_kill event in StepId=744.batch."}, "oom", "task"),
    ("FAILED", {"signal": 125}, "oom", "task"),
    ("TIMEOUT", {}, "timeout", "timeout"),
    ("TIMEOUT", {"result": CUT_OFF}, "timeout", "timeout"),
    ("FAILED", {"exit_code": 143, "interrupted": True, **NEAR}, "timeout", "timeout"),
    ("FAILED", {"exit_code": 15, "interrupted": True, **NEAR}, "timeout", "timeout"),
    ("COMPLETED", {"result": CUT_OFF, **NEAR}, "timeout", "timeout"),
    ("", {"interrupted": True, **NEAR, **GONE}, "timeout", "timeout"),
    ("DEADLINE", {}, "deadline", "config"),
    ("DEADLINE", {"result": CUT_OFF, **NEAR}, "deadline", "config"),
    ("CANCELLED", {"ours": True}, "cancelled", "cancelled"),
    ("CANCELLED", {"ours": True, "result": CUT_OFF}, "cancelled", "cancelled"),
    ("RUNNING", {"ours": True, "result": CUT_OFF}, "cancelled", "cancelled"),
    ("TIMEOUT", {"ours": True}, "cancelled", "cancelled"),
    ("COMPLETED", {"ours": True, **LATE}, "cancelled", "cancelled"),
    ("", {"ours": True, **GONE}, "cancelled", "cancelled"),
    ("CANCELLED", {"by": "1000"}, "cancelled_externally", "cancelled"),
    ("CANCELLED", {"result": CUT_OFF}, "cancelled_externally", "cancelled"),
    ("NODE_FAIL", {}, "node_fail", "infra"),
    ("NODE_FAIL", {"result": CUT_OFF}, "node_fail", "infra"),
    ("BOOT_FAIL", {}, "boot_fail", "infra"),
    ("NODE_FAIL", {"was_starting": True}, "boot_fail", "infra"),
    ("PREEMPTED", {}, "preempted", "infra"),
    ("PREEMPTED", {"result": CUT_OFF}, "preempted", "infra"),
    ("REQUEUED", {}, "requeued", "infra"),
    ("SPECIAL_EXIT", {}, "requeued", "infra"),
    ("COMPLETED", {"result": CUT_OFF}, "interrupted", "infra"),
    ("FAILED", {"signal": 53, "has_log": False}, "log_dir_unwritable", "config"),
    ("FAILED", {"exit_code": 74}, "spool_unwritable", "infra"),
    ("FAILED", {"exit_code": 78, "stderr": "no python3 here\n"}, "python", "config"),
    ("FAILED", {"exit_code": 127, "stderr": "job.sh: not found"}, "environment", "config"),
    ("FAILED", {"signal": 9, **LATE}, "killed", "infra"),
    ("FAILED", {"exit_code": 139, **LATE}, "signal", "infra"),
    ("FAILED", {"exit_code": 143, "interrupted": True, "limit_s": 3600, "ran_s": 60, **LATE}, "signal", "infra"),
    ("FAILED", {"exit_code": 3, **LATE}, "exit", "infra"),
    ("COMPLETED", LATE, "no_result", "infra"),
    ("", GONE, "vanished", "infra"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "more", "word", "failure"), ENDS)
def test_how_jobs_end(state, more, word, failure):
    verdict = seen(state, **more)
    assert (verdict.kind, verdict.word, verdict.failure) == ("ended", word, failure)
    assert verdict.reason.startswith(f"{word}: ")
    assert "744" in verdict.reason or "n2" in verdict.reason
    assert "{" not in verdict.reason
    assert verdict.hint or failure == "cancelled"


def test_what_the_next_attempt_needs_more_of():
    assert {word.partition(":")[0]: seen(state, **more).more for state, more, word, _ in ENDS if seen(state, **more).more} == {
        "oom": "memory",
        "timeout": "time",
    }  # fmt: skip
    assert seen("COMPLETED", result=OUT_OF_TIME).more == "time"
    assert seen("COMPLETED", result=OUT_OF_TIME).kind == "result"


def test_jobs_that_are_still_there_are_to_be_cancelled_first():
    found = {word.partition(":")[0] for state, more, word, _ in ENDS if seen(state, **more).cancel}
    assert found == {"unsatisfiable", "dependency", "held", "launch_failed", "requeued"}
    assert seen("PENDING", reason="Priority", ours=True).cancel


def test_nodes_that_had_a_part_in_it_are_named():
    found = {word for state, more, word, _ in ENDS if seen(state, **more).exclude}
    assert found == {"node_fail", "boot_fail", "launch_failed", "spool_unwritable"}


@pytest.mark.parametrize("state", ["", "RUNNING", "WEIRD_NEW_STATE"])
@pytest.mark.parametrize("ours", [True, False])
def test_an_unknown_state_is_watched_on_with_a_warning(state, ours):
    verdict = seen(state, ours=ours)
    assert verdict.kind in ("wait", "running")
    assert ("not known here" in verdict.warning) == (state == "WEIRD_NEW_STATE")


def test_near_the_limit_scales_with_short_limits():
    short = {"exit_code": 143, "interrupted": True, "limit_s": 60.0}
    assert seen("FAILED", **short, ran_s=31.0).word == "timeout"
    assert seen("FAILED", **short, ran_s=20.0).kind == "running"


def test_words_say_what_was_seen():
    assert seen("CANCELLED", by="1000").reason.endswith("cancelled job 744 (user 1000)")
    assert seen("FAILED", exit_code=78, stderr="a\nno python3 here\n\n").reason.endswith("tasks: no python3 here")
    assert "4096M" in seen("OUT_OF_MEMORY").reason
    assert "sinfo" in seen("PENDING", reason="PartitionTimeLimit", same_polls=2).hint


def test_every_row_can_decide_and_every_sign_and_word_is_used():
    decided = {word.partition(":")[0] for _, _, word, _ in ENDS}
    assert decided == {row.word for row in ROWS if row.word}
    assert decided | {row.word for row in POOLED_ROWS if row.word} == set(WORDS)
    assert {sign for row in ROWS for sign in row.signs} == set(SIGNS)


def test_no_row_hides_a_later_one():
    """A row is useless when an earlier one takes all of its states and asks for no other sign."""
    for place, row in enumerate(ROWS[:-1]):
        for earlier in ROWS[:place]:
            covers = earlier.states == ("any",) or set(row.states) <= set(earlier.states)
            assert not (covers and set(earlier.signs) <= set(row.signs)), (earlier, row)


def test_waits_that_need_somebody_say_whom():
    assert "scontrol release" in what_it_needs("JobHeldUser")
    assert what_it_needs("ReqNodeNotAvail, UnavailableNodes:n[1-4]")
    assert what_it_needs("Priority") == ""
