"""The SLURM lane on a real cluster: what runs, what is said of it, and what is left of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.slurm.gates import Gates
from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed

from pto_proto import events as ev


@pytest.fixture
async def lane(slurm_cluster: SlurmTestbed, tmp_path: Path) -> AsyncIterator[SlurmLane]:
    lane = await SlurmLane(slurm_cluster, tmp_path).open()
    yield lane
    await lane.backend.close()


async def test_a_command_runs_and_its_outputs_come_back(lane: SlurmLane) -> None:
    end = await lane.run_task("hello", command="echo hi; echo $SLURM_JOB_ID > out.txt", outputs=("out.txt",))
    assert (end.outcome, end.exit_code, end.files) == ("succeeded", 0, 1)
    assert await lane.blobs.get(end.log) == b"hi\n"
    assert lane.kinds("hello") == ["JobStateChanged", "TaskStarted", "TaskFinished"]
    started = lane.said["hello", 1][1]
    assert isinstance(started, ev.TaskStarted)
    child = await lane.run_task("child", command="cat out.txt", trees=(end.tree,))
    assert await lane.blobs.get(child.log) == f"{started.job}\n".encode()


async def test_failures_say_what_happened(lane: SlurmLane) -> None:
    await lane.start("exit", command="echo why >&2; exit 3")
    await lane.start("missing", outputs=("nothing.txt",))
    await lane.start("nowhere", slurm="nowhere")
    await lane.start("big", resources={"memory": "999G"})
    await lane.start("unplaceable", slurm="-p")
    failed = {task: await lane.end(task) for task in ("exit", "missing", "nowhere", "big", "unplaceable")}
    assert {task: end.failure for task, end in failed.items()} == {
        "exit": "task", "missing": "task", "nowhere": "config", "big": "config", "unplaceable": "config",
    }  # fmt: skip
    assert failed["exit"].exit_code == 3
    assert failed["exit"].tail[0] == "why"
    assert "Invalid partition" in failed["nowhere"].reason
    assert "sinfo" in failed["nowhere"].hint
    assert "'-p' is no name of a partition" in failed["unplaceable"].reason
    assert "TaskStarted" not in lane.kinds("nowhere")


async def test_noops_need_no_job(lane: SlurmLane) -> None:
    end = await lane.run_task("join", command="", noop=True)
    first = await lane.run_task("a", command="echo a > a.txt")
    second = await lane.run_task("b", command="echo b > b.txt")
    joined = await lane.run_task("ab", command="", noop=True, trees=(first.tree, second.tree))
    assert end.outcome == joined.outcome == "succeeded"
    both = await lane.run_task("both", command="cat a.txt b.txt", trees=(joined.tree,))
    assert await lane.blobs.get(both.log) == b"a\nb\n"


async def test_agents_work_on_nodes(lane: SlurmLane) -> None:
    end = await lane.run_task("agent", agent="Write a module.", outputs=("src/**",), writes=("src/**",))
    assert (end.outcome, end.cost_usd) == ("succeeded", 0.0), (end.reason, end.tail)
    assert end.files


async def test_gpus_and_places_are_asked_for(lane: SlurmLane) -> None:
    end = await lane.run_task(
        "gpu", command="echo $SLURM_GPUS_ON_NODE $SLURM_CPUS_PER_TASK $SLURM_JOB_PARTITION $SLURMD_NODENAME",
        resources={"gpus": 2, "cpus": 3}, slurm="gpu", avoid=("n3",),
    )  # fmt: skip
    assert await lane.blobs.get(end.log) == b"2 3 gpu n4\n"


async def test_lines_are_shown_while_a_task_runs(lane: SlurmLane, gates: Gates) -> None:
    await lane.start("loud", command=f"for i in 1 2 3 4 5 6; do echo line $i; {gates.wait()}; sleep 0.5; done")
    await lane.until(lambda: ("loud", "line 1") in lane.lines)
    assert not lane.ends("loud")
    gates.open()
    await lane.end("loud")
    assert [text for task, text in lane.lines if task == "loud"] == [f"line {number}" for number in range(1, 7)]
    await lane.run_task("short", command="echo at once")
    assert lane.lines[-1] == ("short", "at once")


async def test_cancelling_ends_jobs_in_any_state(lane: SlurmLane) -> None:
    running = await lane.start("running", command="sleep 300")
    waiting = await lane.start("waiting", slurm="down")
    await lane.state(running, "RUNNING")
    await lane.state(waiting, "PENDING")
    for order in (running, waiting):
        assert await lane.backend.stop(order, "asked to")
    for task in ("running", "waiting"):
        end = await lane.end(task)
        assert (end.outcome, end.failure, end.reason) == ("cancelled", "cancelled", "asked to")
    await lane.until(lambda: {state for order in (running, waiting) for _, state in lane.jobs(order)} <= {"CANCELLED"})
    assert not await lane.backend.stop(running, "again")


async def test_waits_that_need_somebody_are_told_once(lane: SlurmLane) -> None:
    order = await lane.start("waiting", slurm="down")
    await lane.until(lambda: len(lane.said["waiting", 1]) > 1)
    await asyncio.sleep(2)
    told = [entry for entry in lane.said["waiting", 1] if isinstance(entry, ev.JobStateChanged)]
    assert [entry.state for entry in told] == ["submitted", "queued"]
    assert "PartitionDown" in told[1].detail
    await lane.backend.stop(order, "")
    await lane.end("waiting")


async def test_jobs_that_can_never_start_are_given_up(lane: SlurmLane) -> None:
    order = await lane.start("long", resources={"time": "9-00:00:00"})
    end = await lane.end("long")
    assert (end.failure, "unsatisfiable" in end.reason) == ("config", True), end
    assert end.hint
    assert lane.jobs(order) == [] or lane.jobs(order)[0][1] == "CANCELLED"


async def test_a_slot_has_one_job_at_a_time(lane: SlurmLane, gates: Gates) -> None:
    first = await lane.start("first", slot=0, command=gates.wait())
    second = await lane.start("second", slot=0)
    await lane.state(first, "RUNNING")
    assert lane.jobs(second) == []
    gates.open()
    await lane.end("first")
    await lane.end("second")
    assert lane.jobs(first)[0][1] == "COMPLETED"


async def test_state_of_jobs_is_shown_in_the_work_folder(lane: SlurmLane) -> None:
    await lane.run_task("shown", command="echo out; exit 1")
    lane.forget("shown")  # as soon as its end is in the log: what the spool has of it goes
    state = lane.folder / "out" / lane.run / ".slurm_state"
    await lane.until(lambda: (state / "logs" / "shown.1.err").exists())
    jobs, tasks = (json.loads((state / name).read_text()) for name in ("jobs.json", "tasks.json"))
    assert list(jobs.values()) == ["shown"]
    assert tasks["shown"]["status"] == "failed"
    assert tasks["shown"]["job"] in jobs
    assert json.loads((state / "results" / "shown.json").read_text())["exit_code"] == 1
    assert (state / "logs" / "shown.1.out").read_text().startswith("out\n")
    assert "command" in json.loads((state / "task_definitions" / "shown.json").read_text())
    assert "sbatch" in (state / "scripts" / "shown.1.sh").read_text()


async def test_nothing_is_left_of_what_the_log_knows(lane: SlurmLane) -> None:
    await lane.run_task("gone", command="echo x > y")
    lane.forget("gone")
    spool = lane.folder / "spool"

    def is_empty() -> bool:
        places = ("ledger/attempts", "results", "runs")
        try:
            return not [path for place in places for path in (spool / place).rglob("*") if path.is_file()]
        except FileNotFoundError:  # what is just being removed was there
            return False

    await lane.until(is_empty, 10)
