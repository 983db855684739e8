"""The executor as real jobs of a real cluster: the very argument vector, the script, what squeue says, the verdict."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.canaries import holders
from tests.slurm.testbed import SlurmTestbed

from pto_proto.ids import RunId, TaskId
from pto_slurm.answers import Submitted, answer_of
from pto_slurm.evidence import Evidence
from pto_slurm.identity import Attempt
from pto_slurm.package import install
from pto_slurm.queue import SQUEUE_FORMAT, TIME_FORMAT, JobRow, read_squeue
from pto_slurm.shape import JobShape
from pto_slurm.submission import Job, sbatch_argv
from pto_slurm.verdicts import THERE, JobFacts, Verdict, judge
from pto_slurm_node.spool import Spool, events_in, read_json, write_json, write_secrets

RUN = RunId("run-123456")
CANARY = "canary-5f1d9c"


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.1)
    return found


class Site:
    """A spool and a cluster."""

    def __init__(self, testbed: SlurmTestbed, root: Path) -> None:
        self.testbed = testbed
        testbed.environment["SLURM_TIME_FORMAT"] = TIME_FORMAT
        self.spool = Spool(root / "50% spool, with blanks")
        self.spool.prepare()
        self.spool.prepare_run(RUN)
        self.installed = install(self.spool)

    def submit(self, task: str, command: str, shape: JobShape | None = None, **more: Any) -> tuple[Attempt, str]:
        attempt = Attempt(RUN, TaskId(task), 1)
        folder = self.spool.attempt(RUN, attempt.name)
        if not folder.exists():
            folder.mkdir()
            work = self.spool.run(RUN) / "work" / task
            own = {name: more.pop(name) for name in ("secrets", "secret_names") if name in more}
            places = {"workspace": f"{work}/w", "out": f"{work}/out", "log": f"{work}/log"}
            given = {**places, "command": command, "env": {"PATH": "/usr/bin:/bin"}, **more}
            write_json(folder / "order.json", {"task": given, **own})
        job = Job(
            name=attempt.job_name,
            comment=attempt.comment,
            shape=shape or JobShape(memory_mb=100, minutes=5),
            script=self.installed.script,
            arguments=self.installed.arguments("run", folder),
            folder=str(folder),
            stdout=str(self.spool.job_log(RUN, attempt.name, "out")),
            stderr=str(self.spool.job_log(RUN, attempt.name, "err")),
        )
        answer = answer_of(0, self.testbed.client(*sbatch_argv(job)), "")
        assert isinstance(answer, Submitted)
        return attempt, answer.job

    def row(self, job: str) -> JobRow:
        reading = read_squeue(self.testbed.client("squeue", "-h", "-a", "--me", "-t", "all", "-O", SQUEUE_FORMAT))
        assert reading.unreadable == ()
        return next(row for row in reading.jobs if row.job == job)

    def ended(self, job: str, seconds: float = 60) -> JobRow:
        return until(lambda: row if (row := self.row(job)).state not in THERE else None, seconds)

    def kinds(self, attempt: Attempt, job: str) -> list[str]:
        return [
            event.kind
            for event in events_in(self.spool.results)
            if event.fence.name == attempt.name and event.fence.job == job
        ]

    def verdict(self, attempt: Attempt, row: JobRow, **more: Any) -> Verdict:
        evidence = Evidence(
            state=row.state, reason=row.reason, exit_code=row.exit_code, signal=row.signal, node=row.nodes,
            ran_s=row.ended - row.started, limit_s=row.limit_s,
            result=read_json(self.spool.results / f"{attempt.name}.{row.job}.0.result.json"),
            interrupted="interrupted" in self.kinds(attempt, row.job),
            stderr=self.spool.job_log(RUN, attempt.name, "err").read_text(), **more,
        )  # fmt: skip
        return judge(evidence, JobFacts(job=row.job, memory_mb=100, minutes=row.limit_s // 60))


@pytest.fixture(scope="module")
def site(slurm_cluster: SlurmTestbed, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(slurm_cluster, tmp_path_factory.mktemp("site"))


def test_a_job_from_sbatch_to_its_verdict(site):
    attempt, job = site.submit("good", "echo hello; echo x > out; echo $SLURM_JOB_ID", outputs=["out"])
    row = site.ended(job)
    assert (row.state, row.exit_code, row.name, row.comment) == ("COMPLETED", 0, attempt.job_name, attempt.comment)
    assert (row.limit_s, row.restarts) == (300, 0)
    assert site.kinds(attempt, job) == ["started", "result"]
    assert site.verdict(attempt, row).kind == "result"
    result = read_json(site.spool.results / f"{attempt.name}.{job}.0.result.json")
    assert (result["outcome"], result["node"]) == ("succeeded", row.nodes)
    assert site.spool.job_log(RUN, attempt.name, "out").read_text() == f"hello\n{job}\n"
    assert site.spool.job_log(RUN, attempt.name, "err").read_text() == ""


def test_a_job_submitted_twice_runs_once(site):
    jobs = [site.submit("twice", "echo x >> ../count; sleep 1")[1] for _ in range(2)]
    attempt = Attempt(RUN, TaskId("twice"), 1)
    assert {site.ended(job).state for job in jobs} == {"COMPLETED"}
    assert (site.spool.run(RUN) / "work" / "twice" / "count").read_text() == "x\n"
    assert sorted(len(site.kinds(attempt, job)) for job in jobs) == [0, 2]


def test_a_job_that_somebody_cancels_keeps_what_it_has(site):
    attempt, job = site.submit("cancelled", "echo part > part; echo ready; sleep 60", outputs=["part"])
    log = site.spool.job_log(RUN, attempt.name, "out")
    until(lambda: log.exists() and "ready" in log.read_text())
    site.testbed.client("scancel", job)
    row = site.ended(job)
    assert row.state == "CANCELLED"
    assert site.kinds(attempt, job) == ["started", "interrupted", "result"]
    assert site.verdict(attempt, row, ours=True).word == "cancelled"
    assert site.verdict(attempt, row).word == "cancelled_externally"
    assert (site.spool.run(RUN) / "work" / "cancelled" / "w" / "part").exists()


def test_secrets_are_nowhere_but_in_their_file(site):
    path = site.spool.run(RUN) / "secrets.json"
    write_secrets(path, {"TOKEN": CANARY})
    command = 'test "$TOKEN" && echo $TOKEN && ps -eo args | grep -v grep | grep -c canary-5f || true'
    attempt, job = site.submit("secret", command, secrets=str(path), secret_names=["TOKEN"])
    said = site.testbed.client("scontrol", "show", "job", job, "-dd")
    site.ended(job)
    assert site.spool.job_log(RUN, attempt.name, "out").read_text() == "***\n0\n"
    assert CANARY not in said
    assert holders(CANARY, below=(site.spool.root, site.testbed.folder)) == [path]


@pytest.mark.slow
def test_a_job_is_told_to_end_before_its_time_limit(site):
    shape = JobShape(memory_mb=100, minutes=1)
    attempt, job = site.submit("slow", "echo part > part; sleep 300", shape, outputs=["part"])
    row = site.ended(job, 120)
    verdict = site.verdict(attempt, row)
    assert (verdict.word, verdict.failure, verdict.more) == ("timeout", "timeout", "time")
    assert site.kinds(attempt, job) == ["started", "interrupted", "result"]


@pytest.mark.slow
def test_a_job_that_uses_too_much_memory(site):
    """Nodes of the test bed watch memory by their accounting; real ones by cgroups, of which only the state differs."""
    hog = "x = bytearray(400 * 2**20)\nfor at in range(0, len(x), 4096):\n    x[at] = 1\nimport time\ntime.sleep(50)"
    attempt, job = site.submit("hog", f"exec python3 -c '{hog}'")
    row = site.ended(job, 90)
    verdict = site.verdict(attempt, row, ended_s=61.0)
    assert (verdict.word, verdict.failure, verdict.more) == ("oom", "task", "memory"), (row, verdict)
