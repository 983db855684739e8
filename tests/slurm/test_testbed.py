"""The test bed itself: what others rely on when they try something out on it."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.slurm.gates import Gates
from tests.slurm.testbed import SCRIPT, SlurmTestbed

SEED_REQUESTS = [
    ("--partition=compute", "--mem=4G", "--time=01:00:00"),
    ("--partition=compute", "--time=02:00:00", "--mem=16G", "--cpus-per-task=4"),
    ("--partition=gpu", "--gres=gpu:1", "--mem=32G"),
    ("--partition=research", "--gres=gpu:1"),
    ("--gres=gpu:4",),
    ("--partition=data", "--mem=64G"),
    ("--partition=urgent", "--mem=131072M", "--cpus-per-task=16"),
]


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.1)


def state(testbed: SlurmTestbed, job: str) -> str:
    return testbed.client("squeue", "-h", "-t", "all", "-o", "%T", "-j", job)


@pytest.mark.parametrize("request_", SEED_REQUESTS, ids=" ".join)
def test_jobs_of_every_size_run(slurm_cluster: SlurmTestbed, request_: tuple[str, ...]) -> None:
    job = slurm_cluster.client("sbatch", "--parsable", "-o", "/dev/null", *request_, "--wrap", "true")
    until(lambda: state(slurm_cluster, job) == "COMPLETED")


def test_partition_that_is_down_keeps_its_jobs_waiting(slurm_cluster: SlurmTestbed) -> None:
    job = slurm_cluster.client("sbatch", "--parsable", "-o", "/dev/null", "-p", "down", "--wrap", "true")
    until(lambda: slurm_cluster.client("squeue", "-h", "-o", "%r", "-j", job) == "PartitionDown")
    slurm_cluster.client("scancel", job)


def test_up_again_prints_the_same_lines(slurm_cluster: SlurmTestbed) -> None:
    lines = slurm_cluster.do("up")
    assert lines == slurm_cluster.do("env")
    assert f"export SLURM_CONF={slurm_cluster.folder}/slurm.conf\n" in lines
    assert re.search(r"slurmd\.n4: runs", slurm_cluster.do("status"))


def steps_of(testbed: SlurmTestbed) -> list[str]:
    wanted = f"SLURM_CONF={testbed.folder}/slurm.conf".encode()
    found = subprocess.run(["pgrep", "-x", "slurmstepd"], capture_output=True, text=True, check=False).stdout.split()
    return [pid for pid in found if wanted in environment_of(pid).split(b"\0")]


def environment_of(pid: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def test_down_leaves_no_step_that_waits_for_its_controller(tmp_path: Path, gates: Gates) -> None:
    testbed = SlurmTestbed.start(tmp_path / "c", nodes=1)
    ended = tmp_path / "ended"
    try:
        testbed.client("sbatch", "--parsable", "-o", "/dev/null", "--wrap", f"{gates.wait()}; touch {ended}")
        until(lambda: steps_of(testbed))
        testbed.do("stop-controller")
        gates.open()
        until(ended.exists)
        time.sleep(0.5)
        assert steps_of(testbed), "its step has nobody to tell the end to"
    finally:
        testbed.do("down")
    assert not steps_of(testbed)


def test_two_clusters_side_by_side(slurm_cluster: SlurmTestbed, tmp_path: Path) -> None:
    other = SlurmTestbed.start(tmp_path / "c", nodes=1, SLURMDTIMEOUT="4")
    try:
        job = other.client("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 60")
        until(lambda: state(other, job) == "RUNNING")
        assert job not in slurm_cluster.client("squeue", "-h", "-o", "%i").split()
    finally:
        other.do("down")
    assert not other.folder.exists()
    assert (
        "nothing runs"
        in subprocess.run(
            [SCRIPT, "status"],
            env={**os.environ, "PTO_SLURM_TESTBED_DIR": str(other.folder)},
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    )
    assert slurm_cluster.client("sinfo", "-h", "-p", "compute")


@pytest.mark.slow
def test_controller_restarts_and_nodes_crash(tmp_path: Path) -> None:
    testbed = SlurmTestbed.start(tmp_path / "c", nodes=2, SLURMDTIMEOUT="4")
    try:
        mark = tmp_path / "mark"
        script = f"touch {mark}.began; sleep 3; touch {mark}.ended; sleep 60"
        job = testbed.client("sbatch", "--parsable", "--no-requeue", "-o", "/dev/null", "-w", "n2", "--wrap", script)
        until(Path(f"{mark}.began").exists)
        testbed.do("restart-controller")
        assert state(testbed, job) == "RUNNING"
        testbed.do("kill-node", "2")
        until(Path(f"{mark}.ended").exists)  # a job goes on although nobody knows of it
        until(lambda: state(testbed, job) == "NODE_FAIL")
        testbed.do("start-node", "n2")
        after = testbed.client("sbatch", "--parsable", "-o", "/dev/null", "-w", "n2", "--wrap", "true")
        until(lambda: state(testbed, after) == "COMPLETED")
    finally:
        testbed.do("down")
    left = subprocess.run(["pgrep", "-f", str(testbed.folder)], capture_output=True, text=True, check=False).stdout
    assert not left


def test_wrong_use_says_what_is_wrong(tmp_path: Path) -> None:
    def complaint(*arguments: str, **variables: str) -> str:
        environment = {**os.environ, "PTO_SLURM_TESTBED_DIR": str(tmp_path / "none"), **variables}
        done = subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        return done.stderr

    assert "not a number of nodes: 'many'" in complaint("up", "many")
    assert "must be absolute" in complaint("up", PTO_SLURM_TESTBED_DIR="here")
    assert "letters, digits" in complaint("up", PTO_SLURM_TESTBED_DIR=f"{tmp_path}/a b")
    assert "there is no test bed" in complaint("kill-node", "1")
    assert "slurm.sh up [NODES]" in complaint()
