"""How jobs end on a real cluster, and what people are told: every row of the table that can be provoked."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed

CLOUD = """\
ResumeProgram=/bin/false
SuspendProgram=/bin/true
SuspendTime=600
SuspendTimeout=3
ResumeTimeout=3
SuspendExcNodes=n[1-2]
NodeName=cloud-1 NodeHostname=nowhere NodeAddr=127.0.0.1 Port=9 CPUs=16 RealMemory=131072 State=CLOUD
PartitionName=cloud Nodes=cloud-1 State=UP"""
"""A node that is to be powered up, which fails."""
HOG = "import time; data = [bytearray(2**20) for _ in range(400)]; time.sleep(30)"


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmTestbed]:
    """Two nodes that are given up after a few seconds, and one that never comes."""
    testbed = SlurmTestbed.start(tmp_path_factory.mktemp("frail") / "c", nodes=2, SLURMDTIMEOUT="8", EXTRA=CLOUD)
    yield testbed
    testbed.do("down")


@pytest.fixture
async def lane(slurm_cluster: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    lane = await SlurmLane(slurm_cluster, tmp_path).open()
    yield lane
    await lane.backend.close()


@pytest.fixture
async def frail_lane(frail: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    lane = await SlurmLane(frail, tmp_path).open()
    yield lane
    await lane.backend.close()


async def test_somebody_else_cancels_the_job(lane: SlurmLane) -> None:
    order = await lane.start("a", command="sleep 300")
    await lane.until(lambda: "TaskStarted" in lane.kinds("a"))
    lane.testbed.client("scancel", lane.jobs(order)[0][0])
    end = await lane.end("a")
    assert (end.outcome, end.failure) == ("cancelled", "cancelled")
    assert "cancelled_externally" in end.reason


async def test_somebody_else_cancels_the_job_before_it_starts(lane: SlurmLane) -> None:
    order = await lane.start("a", slurm="down")
    await lane.state(order, "PENDING")
    lane.testbed.client("scancel", lane.jobs(order)[0][0])
    end = await lane.end("a")
    assert (end.outcome, end.failure) == ("cancelled", "cancelled")
    assert "cancelled_externally" in end.reason


async def test_out_of_memory_asks_for_more(lane: SlurmLane) -> None:
    end = await lane.run_task("a", command=("python3", "-c", HOG), resources={"memory": "100M"})
    assert (end.outcome, end.failure) == ("failed", "task")
    assert "oom" in end.reason, end
    assert "100M" in end.reason
    assert end.again is not None
    assert end.again.memory == "200M"
    assert "200M" in end.hint


async def test_held_jobs_are_told_of(lane: SlurmLane) -> None:
    order = await lane.start("a", slurm="down")
    await lane.state(order, "PENDING")
    lane.testbed.client("scontrol", "hold", lane.jobs(order)[0][0])
    end = await lane.end("a")
    assert (end.failure, "holds" in end.reason) == ("config", True), end
    await lane.state(order, "CANCELLED")


async def test_deadline_passes_before_the_job_could_end(lane: SlurmLane) -> None:
    """SLURM ends such a job when it would come to it."""
    order = await lane.start("a", slurm="down")
    job = await lane.state(order, "PENDING")
    lane.testbed.client("scontrol", "update", f"jobid={job}", "deadline=now+30", "partition=compute")
    end = await lane.end("a")
    assert (end.outcome, end.failure) == ("failed", "config"), end
    assert end.reason.startswith(f"deadline: job {job} could not end before its deadline"), end
    assert [state for _, state in lane.jobs(order)] == ["DEADLINE"]
    assert "TaskStarted" not in lane.kinds("a")


@pytest.mark.slow
async def test_suspended_jobs_go_on(lane: SlurmLane) -> None:
    """For longer than their time limit: one ends well, one is told to end long before it, one is cancelled."""
    go = lane.folder / "go"
    work = f"until [ -e {go} ]; do sleep 0.2; done; echo done > out.txt"
    commands = {"well": f"echo begun >> {lane.folder}/runs; {work}", "cut": "sleep 300"}
    short = {"resources": {"time": "00:00:30"}}
    orders = [await lane.start(task, command=command, **short) for task, command in commands.items()]
    orders.append(await lane.start("cancelled", command="sleep 300"))
    await lane.until(lambda: all("TaskStarted" in lane.kinds(task) for task in (*commands, "cancelled")))
    jobs = [lane.jobs(order)[0][0] for order in orders]
    lane.testbed.client("scontrol", "suspend", ",".join(jobs))
    await lane.until(lambda: all("suspended" in lane.states(task) for task in (*commands, "cancelled")))
    assert await lane.backend.stop(orders[2], "asked to")
    assert (await lane.end("cancelled")).outcome == "cancelled"
    await asyncio.sleep(30)
    assert not lane.ends("well")
    assert not lane.ends("cut")
    lane.testbed.client("scontrol", "resume", ",".join(jobs[:2]))
    await lane.start("another")  # looks had become rare, since nothing happened
    await lane.until(lambda: all(lane.states(task)[-1] == "running" for task in commands))
    go.touch()
    os.kill(lane.executor("cut"), signal.SIGTERM)
    cut, end = await lane.end("cut"), await lane.end("well")
    assert cut.reason.startswith("interrupted: "), cut
    assert (end.outcome, end.files) == ("succeeded", 1), end
    assert (lane.folder / "runs").read_text() == "begun\n"
    for task in commands:
        assert lane.kinds(task).count("TaskStarted") == 1
        assert lane.states(task) == ["submitted", "suspended", "running"]


async def test_log_that_cannot_be_opened_is_told_of(slurm_cluster: SlurmTestbed, tmp_path: Path) -> None:
    lane = SlurmLane(slurm_cluster, tmp_path)
    lane.fake("sbatch", f'rm -rf {tmp_path}/spool/runs/*/logs; exec "$REAL" "$@"')
    await lane.open()
    try:
        end = await lane.run_task("a")
    finally:
        await lane.backend.close()
    assert (end.failure, "log_dir_unwritable" in end.reason) == ("config", True), end
    assert "TaskStarted" not in lane.kinds("a")


@pytest.mark.slow
async def test_node_dies_and_what_it_says_later_does_not_count(frail_lane: SlurmLane) -> None:
    lane = frail_lane
    order = await lane.start("a", command=f"sleep 20; echo late > {lane.folder}/late; echo x > x")
    await lane.until(lambda: "TaskStarted" in lane.kinds("a"))
    node = lane.testbed.client("squeue", "-h", "-o", "%N", "-j", lane.jobs(order)[0][0])
    lane.testbed.do("kill-node", node)
    try:
        end = await lane.end("a", seconds=120)
        if end.outcome != "succeeded":  # on a slow machine the orphan may end before the node is given up
            assert (end.failure, "node_fail" in end.reason) == ("infra", True), end
            assert end.node == node
            await lane.until((lane.folder / "late").exists, 60)
            second = await lane.run_task("a", 2, command="echo y > x", avoid=(node,))
            assert second.outcome == "succeeded"
            assert len(lane.ends("a")) == 1
    finally:
        lane.testbed.do("start-node", node)


@pytest.mark.slow
async def test_node_does_not_boot(frail_lane: SlurmLane) -> None:
    """SLURM 22.05 calls that NODE_FAIL, too; what was seen before tells it from a node that failed under a job."""
    lane = frail_lane
    end = await lane.run_task("a", slurm="cloud")
    assert (end.failure, end.node) == ("infra", "cloud-1"), end
    assert end.reason.startswith("boot_fail: node cloud-1 did not boot"), end
    assert lane.states("a") == ["submitted", "provisioning"]
    assert "TaskStarted" not in lane.kinds("a")
    assert (await lane.run_task("a", 2, avoid=("cloud-1",))).outcome == "succeeded"


@pytest.mark.slow
async def test_jobs_make_room_for_urgent_ones(frail_lane: SlurmLane) -> None:
    lane = frail_lane
    wide = {"resources": {"cpus": 16}}
    orders = [await lane.start(task, command="sleep 300", **wide) for task in ("a", "b")]
    for order in orders:
        await lane.state(order, "RUNNING")
    lane.testbed.client("sbatch", "-p", "urgent", "-c", "16", "-o", "/dev/null", "--wrap", "sleep 5")
    await lane.until(lambda: bool(lane.ends("a") or lane.ends("b")))
    end = (lane.ends("a") or lane.ends("b"))[0]
    assert (end.failure, "preempted" in end.reason) == ("infra", True), end
    for order in orders:
        await lane.backend.stop(order, "")
    await lane.end("a")
    await lane.end("b")


async def test_controller_restarts_and_is_away(frail_lane: SlurmLane) -> None:
    lane = frail_lane
    await lane.start("a", command="sleep 4")
    await lane.until(lambda: "TaskStarted" in lane.kinds("a"))
    lane.testbed.do("stop-controller")
    await lane.start("b")
    await asyncio.sleep(5)
    lane.testbed.do("start-controller")
    assert (await lane.end("a")).outcome == "succeeded"
    assert (await lane.end("b")).outcome == "succeeded"
    assert len(lane.jobs(lane.orders["b", 1])) == 1


@pytest.mark.slow
async def test_ends_that_take_a_minute(
    lane: SlurmLane, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Side by side: a time limit, an executor that is killed, and a job that SLURM forgets."""
    testbed = SlurmTestbed.start(tmp_path_factory.mktemp("forgetful") / "c", nodes=1, MINJOBAGE="2")
    forgetful = SlurmLane(testbed, tmp_path / "forgetful")
    try:
        await asyncio.gather(time_limit_asks_for_more(lane), executor_is_killed(lane), job_vanishes(forgetful))
    finally:
        await forgetful.backend.close()
        testbed.do("down")


async def time_limit_asks_for_more(lane: SlurmLane) -> None:
    end = await lane.run_task("limited", seconds=150, command="sleep 300", resources={"time": "00:01:00"})
    assert end.failure == "timeout", end
    assert end.again is not None
    assert end.again.time == "00:02:00"


async def executor_is_killed(lane: SlurmLane) -> None:
    await lane.start("killed", command="echo said; sleep 300")
    await lane.until(lambda: "TaskStarted" in lane.kinds("killed") and ("killed", "said") in lane.lines)
    os.kill(lane.executor("killed"), signal.SIGKILL)
    end = await lane.end("killed", seconds=150)
    assert (end.failure, "killed" in end.reason) == ("infra", True), end
    assert "said" in end.tail


async def job_vanishes(lane: SlurmLane) -> None:
    """Its executor is killed, and SLURM has forgotten it before anybody could ask."""
    lane.folder.mkdir()
    lane.fake("squeue", '[ -e "$HERE/away" ] && exit 1; exec "$REAL" "$@"')
    await lane.open()
    order = await lane.start("gone", command="sleep 300")
    await lane.until(lambda: "TaskStarted" in lane.kinds("gone"))
    (lane.folder / "bin" / "away").touch()
    os.kill(lane.executor("gone"), signal.SIGKILL)
    await lane.until(lambda: not lane.jobs(order))
    (lane.folder / "bin" / "away").unlink()
    end = await lane.end("gone", seconds=150)
    assert (end.failure, "vanished" in end.reason) == ("infra", True), end
