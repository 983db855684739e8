"""The SLURM lane on a real cluster: what runs, what is said of it, and what is left of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pto_proto import events as ev
from tests.slurm.slurm_lane import SlurmLane
from tests.slurm.testbed import SlurmTestbed


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
