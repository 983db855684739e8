"""A cluster with a real slurmdbd: what accounting says of jobs that SLURM has forgotten, and limits of submissions."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed, require_slurm

from pto_proto import events as ev
from pto_proto.plans import SlurmOptions
from pto_slurm import evidence
from pto_slurm.verdicts import THERE
from pto_slurm_lane import sighting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmTestbed]:
    """Two nodes, a controller that forgets jobs after two seconds, and accounting that does not."""
    require_slurm("slurmdbd", "mariadbd", variables="DBD=1 ")
    testbed = SlurmTestbed.start(tmp_path_factory.mktemp("accounted") / "c", nodes=2, MINJOBAGE="2", DBD="1")
    yield testbed
    testbed.do("down")


@pytest.fixture
async def lane(accounted: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    """Not open yet."""
    lane = SlurmLane(accounted, tmp_path)
    yield lane
    await lane.backend.close()


async def test_accounting_tells_how_jobs_ended_while_nobody_looked(
    lane: SlurmLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four jobs that end, and are forgotten, while the dispatcher is away; one of them has left its result."""
    monkeypatch.setattr(evidence, "GRACE_S", 1.0)
    monkeypatch.setattr(sighting, "CLOCKS_DIFFER_S", 0.0)
    testbed, go = lane.testbed, lane.folder / "go"
    await lane.open()
    orders = {
        "well": await lane.start("well", command=f"until [ -e {go} ]; do sleep 0.2; done; echo x > x"),
        "killed": await lane.start("killed", command="sleep 300"),
        "cancelled": await lane.start("cancelled", slurm="down"),
        "late": await lane.start("late", slurm="down"),
    }
    await lane.until(lambda: all("TaskStarted" in lane.kinds(task) for task in ("well", "killed")))
    jobs = {task: await lane.state(order, "RUNNING", "PENDING") for task, order in orders.items()}
    await lane.kill()
    go.touch()
    os.kill(lane.executor("killed"), signal.SIGKILL)
    testbed.client("scancel", jobs["cancelled"])
    testbed.client("scontrol", "update", f"jobid={jobs['late']}", "deadline=now+30", "partition=compute")
    await lane.until(lambda: not any(lane.jobs(order) for order in orders.values()))

    def is_known() -> bool:  # accounting is asked once a minute, and hears of an end later than squeue shows it
        said = testbed.client("sacct", "-X", "-n", "-P", "-o", "State", "-j", ",".join(jobs.values())).splitlines()
        return len(said) == len(jobs) and not {*said} & {*THERE}

    await lane.until(is_known)
    await lane.restart()
    ends = {task: await lane.end(task, seconds=45) for task in orders}  # sooner than without accounting
    assert {task: end.reason.partition(":")[0] for task, end in ends.items()} == {
        "well": "", "killed": "killed", "cancelled": "cancelled_externally", "late": "deadline",
    }, lane.ends  # fmt: skip
    assert (ends["well"].outcome, ends["well"].files) == ("succeeded", 1)
    assert f"job {jobs['killed']} was killed on node n" in ends["killed"].reason
    assert f"somebody else cancelled job {jobs['cancelled']} (user " in ends["cancelled"].reason
    assert [task for task, end in ends.items() if end.failure == "config"] == ["late"]


@pytest.mark.parametrize("whose", ["qos", "association"])
async def test_limits_of_submissions_are_waited_for(lane: SlurmLane, whose: str) -> None:
    """One job at a time is allowed: three tasks all end, each after one job, and those that wait say why."""
    call, user = lane.testbed.client, lane.testbed.client("id", "-un")
    slurm, sign = {}, "MaxSubmitJobs=1("
    if whose == "qos":
        call("sacctmgr", "-i", "add", "qos", "narrow", "set", "MaxSubmitJobsPerUser=1")
        call("sacctmgr", "-i", "modify", "user", user, "set", "qos=normal,narrow")
        slurm, sign = {"slurm": SlurmOptions(qos="narrow")}, "QOS=narrow("
    else:
        call("sacctmgr", "-i", "modify", "user", user, "set", "MaxSubmitJobs=1")
    await lane.until(lambda: sign in call("scontrol", "show", "assoc_mgr", "flags=assoc,qos"))
    await lane.open()
    tasks = [f"task{number}" for number in range(3)]
    for task in tasks:
        await lane.start(task, command=f"echo {task} >> {lane.folder}/runs; sleep 1", **slurm)
    ends = [await lane.end(task) for task in tasks]
    assert [(end.outcome, end.attempt) for end in ends] == [("succeeded", 1)] * len(tasks)
    assert sorted((lane.folder / "runs").read_text().split()) == tasks
    waited = [
        entry.detail
        for task in tasks
        for entry in lane.said[task, 1]
        if isinstance(entry, ev.JobStateChanged) and entry.state == "waiting"
    ]
    limit = "QOSMaxSubmitJobPerUserLimit" if whose == "qos" else "AssocMaxSubmitJobLimit"
    assert waited
    assert all(limit in words for words in waited), waited
