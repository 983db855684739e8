"""The exact words to sbatch, and the names by which a job is found again."""

import pytest

from pto_proto.ids import RunId, TaskId
from pto_slurm.identity import Attempt, attempt_in
from pto_slurm.shape import JobShape
from pto_slurm.submission import Job, sbatch_argv

ATTEMPT = Attempt(RunId("sweep-abc123"), TaskId("train.lr-0.1"), 2, 1)


def job(**changes: object) -> Job:
    given = {
        "name": ATTEMPT.job_name, "comment": ATTEMPT.comment, "shape": JobShape(), "script": "/spool/bin/job.sh",
        "arguments": ("/spool/runs/sweep-abc123/attempts/x",), "folder": "/spool/runs/sweep-abc123/attempts/x",
        "stdout": "/spool/logs/x.out", "stderr": "/spool/logs/x.err",
    }  # fmt: skip
    return Job(**{**given, **changes})


def test_a_plain_job():
    assert sbatch_argv(job()) == (
        "sbatch",
        "--parsable",
        "--no-requeue",
        "--job-name=pto-20345c2b54c6e89d12e58896-train.lr-0.1",
        "--comment=pto:sweep-abc123/1/train.lr-0.1/2",
        "--dependency=singleton",
        "--chdir=/spool/runs/sweep-abc123/attempts/x",
        "--output=/spool/logs/x.out",
        "--error=/spool/logs/x.err",
        "--open-mode=append",
        "--export=NIL",
        "--signal=B:TERM@90",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        "--mem=4096M",
        "--time=60",
        "/spool/bin/job.sh",
        "/spool/runs/sweep-abc123/attempts/x",
    )


def test_a_job_that_asks_for_everything():
    shape = JobShape(
        cpus=16, memory_mb=131072, gpus=4, minutes=120, partition="gpu", account="lab", qos="high",
        constraint="(intel|amd)&ib", exclude=("n1", "n3"),
    )  # fmt: skip
    argv = sbatch_argv(job(shape=shape))
    assert argv[-11:-1] == (
        "--cpus-per-task=16",
        "--mem=131072M",
        "--time=120",
        "--gres=gpu:4",
        "--partition=gpu",
        "--account=lab",
        "--qos=high",
        "--constraint=(intel|amd)&ib",
        "--exclude=n1,n3",
        "/spool/bin/job.sh",
    )


def test_a_job_before_its_turn_waits_for_others():
    assert "--dependency=singleton,afterok:1:22" in sbatch_argv(job(after=("1", "22")))
    for wrong in ("", "1,afterany:2", "1:2", "-1", "1 2"):
        with pytest.raises(ValueError, match="ids of jobs"):
            sbatch_argv(job(after=(wrong,)))


def test_no_resources_but_gpus_ask_for_gres():
    assert not any(word.startswith("--gres") for word in sbatch_argv(job()))


def test_percent_signs_in_log_paths_are_no_patterns():
    argv = sbatch_argv(job(stdout="/spool/100%j/x.out"))
    assert "--output=/spool/100%%j/x.out" in argv


def test_words_with_blanks_and_quotes_stay_one_argument():
    argv = sbatch_argv(job(comment="a b;$(id) 'c' — d", folder="/spool/a b"))
    assert "--comment=a b;$(id) 'c' — d" in argv
    assert "--chdir=/spool/a b" in argv


@pytest.mark.parametrize(
    "change",
    [
        {"name": "-x"},
        {"name": "a b"},
        {"name": "x" * 201},
        {"comment": "x" * 1025},
        {"comment": "a\nb"},
        {"folder": "relative"},
        {"stdout": "/a\\b"},
        {"script": "/a\nb"},
    ],
)
def test_what_slurm_would_not_take_as_it_is_is_refused(change):
    with pytest.raises(ValueError, match=r"cannot be|must be"):
        sbatch_argv(job(**change))


def test_a_comment_tells_the_whole_attempt_again():
    assert attempt_in(ATTEMPT.comment) == ATTEMPT
    assert attempt_in("pto:run/with/too/many/parts") is None
    assert attempt_in("(null)") is None


def test_names_of_long_tasks_differ_though_they_begin_alike():
    names = {Attempt(RunId("sweep-abc123"), TaskId("x" * 60 + str(n)), 1).job_name for n in range(3)}
    assert len(names) == 3
    assert all(len(name) < 64 for name in names)
