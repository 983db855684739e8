"""The command line on the test bed: the seed's flags, a run that is killed again and again, and what doctor says."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pto_proto.ids import RunId
from pto_s3 import Bucket, open_bucket

from .aws_testbed import AwsTestbed
from .buckets import REGION
from .cluster_lane import there

pytestmark = pytest.mark.slow
PROGRAM = str(Path(sys.executable).parent / "orchestrator")
KILLS = int(os.environ.get("PTO_AWS_KILLS", "4"))
"""More of them take longer: twenty, about three minutes."""
MINE = ["--aws", "--aws-cluster-name=my-cluster", "--aws-s3-bucket=my-bucket", "--aws-region=eu-central-1"]
PLAN = """
name: Killed
tasks:
  - id: part
    command: "echo ${matrix.n} >part-${matrix.n}.txt; sleep 0.5"
    outputs: ["part-${matrix.n}.txt"]
    matrix: {n: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]}
  - id: whole
    command: "cat part-*.txt | sort -n >whole.txt"
    outputs: [whole.txt]
    depends_on: part
"""


class CommandLine:
    """Where it runs, and what it is told by its environment."""

    def __init__(self, testbed: AwsTestbed, folder: Path) -> None:
        self.folder = folder
        self.environment = testbed.environment | {
            "XDG_STATE_HOME": str(folder / "state"), "PTO_SLURM_POLL_S": "0.5", "PTO_SLURM_SUBMIT_RATE": "50",
            "PTO_SLURM_SUBMIT_BURST": "50",
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *words], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == code, said
        return said

    def wait_for_a_run(self, process: subprocess.Popen[str]) -> None:
        """Until it has noted its run, or has ended."""
        until = time.monotonic() + 120
        while process.poll() is None and not [*self.folder.glob("state/parallel-orchestrator/runs/*/run.json")]:
            assert time.monotonic() < until, "no run has begun"
            time.sleep(0.05)

    def runs(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.run("list", "--json").splitlines()]


@pytest.fixture
def command_line(aws_testbed: AwsTestbed, tmp_path: Path) -> CommandLine:
    return CommandLine(aws_testbed, tmp_path)


def bucket_of(command_line: CommandLine, name: str) -> Bucket:
    return open_bucket(name, REGION, endpoint_url=command_line.environment["AWS_ENDPOINT_URL"])


def test_gpus_of_another_cluster(command_line: CommandLine, fake_credentials: None) -> None:
    said = command_line.run(
        "Create a calculator function", "--aws", "--aws-cluster-name=gpu-cluster", "--aws-s3-bucket=ml-bucket",
        "--slurm-partition=gpu", "--slurm-gpus=1", "--max-executors", "20", "-o", "out",
    )  # fmt: skip
    out = command_line.folder / "out"
    summary = json.loads((out / "execution_summary.json").read_text())
    assert summary["status"] == "succeeded", said
    [run] = command_line.runs()
    found = there(bucket_of(command_line, "ml-bucket"), RunId(run["run"]))
    for name in ("jobs.json", "tasks.json"):
        assert found[f"state/{name}"] == (out / ".slurm_state" / name).read_bytes()
    done = json.loads(found["state/tasks.json"])
    assert len([name for name in found if name.startswith("results/")]) == len(done) > 1
    scripts = " ".join(path.read_text() for path in (out / ".slurm_state" / "scripts").iterdir())
    assert "--gres=gpu:1" in scripts
    assert "--partition=gpu" in scripts


def test_killed_again_and_again_it_ends_the_same(command_line: CommandLine, fake_credentials: None) -> None:
    (command_line.folder / "plan.yaml").write_text(PLAN)
    chance = random.Random(7)
    words = ["run", "--plan", "plan.yaml", *MINE, "-m", "6", "-o", "out"]
    run, killed = "", 0
    for _ in range(KILLS):
        process = command_line.start(*words)
        try:
            if not run:
                command_line.wait_for_a_run(process)
            time.sleep(chance.uniform(1, 3.5))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
            said, _ = process.communicate()
        runs = command_line.runs()
        run = runs[0]["run"] if runs else ""
        if runs and runs[0]["state"] == "succeeded":
            break
        words = ["resume", run] if run else words
    print(f"killed {killed} times")
    assert run, said
    assert killed
    if command_line.runs()[0]["state"] != "succeeded":
        command_line.run(*words)
    assert [one["state"] for one in command_line.runs()] == ["succeeded"]
    whole = next((command_line.folder / "out").rglob("whole.txt")).read_text()
    assert whole.split() == [str(n) for n in range(1, 21)]
    found = there(bucket_of(command_line, "my-bucket"), RunId(run))
    results = [json.loads(data) for name, data in found.items() if name.startswith("results/")]
    won = [result["task"] for result in results if result["outcome"] == "succeeded"]
    assert sorted(won) == sorted({*won}), "a task succeeded twice"
    assert len(won) == 21
    shown = json.loads(found["state/tasks.json"])
    here = json.loads((command_line.folder / "out" / ".slurm_state" / "tasks.json").read_bytes())
    said = next(command_line.folder.rglob("services.log")).read_text()[-4000:]
    assert {task["status"] for task in shown.values()} == {"succeeded"}, (shown, here, said)


def test_doctor_says_what_is_wrong_and_how_to_mend_it(command_line: CommandLine) -> None:
    said = command_line.run("doctor", *MINE)
    assert "ok    bucket my-bucket: is there, in eu-central-1" in said
    assert "ok    cluster my-cluster: ParallelCluster" in said
    said = command_line.run("doctor", "--aws", "--aws-cluster-name=no-cluster", "--aws-s3-bucket=no-bucket", code=3)
    assert "FAIL  bucket no-bucket: there is no bucket 'no-bucket'" in said
    assert "aws s3 mb s3://no-bucket" in said
    assert "FAIL  cluster no-cluster" in said
    assert "my-cluster" in said


def test_a_run_with_a_wrong_bucket_does_not_begin(command_line: CommandLine) -> None:
    said = command_line.run(
        "Build platform", "--aws", "--aws-cluster-name=my-cluster", "--aws-s3-bucket=no-bucket", code=3
    )
    assert "aws s3 mb s3://no-bucket" in said
    assert command_line.runs() == []
    assert "--aws: needs --aws-s3-bucket" in command_line.run("Build", "--aws", "--aws-cluster-name=c", code=2)
