"""The AWS test bed itself; its late, missing and lost instances are what the tests of the lane are about."""

import subprocess
import time
from collections.abc import Callable

import pytest

from .aws_testbed import SCRIPT, AwsTestbed

pytestmark = pytest.mark.slow


def until(holds: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.2)


def submit(testbed: AwsTestbed, queue: str) -> str:
    return testbed.client(
        "sbatch", "--parsable", "--no-requeue", "-o", "/dev/null", "-p", queue, "--wrap", "sleep 300"
    )  # fmt: skip


def state(testbed: AwsTestbed, job: str) -> str:
    return testbed.client("squeue", "-h", "-t", "all", "-o", "%T", "-j", job)


def test_up_again_prints_the_same_lines_and_nodes_that_are_always_up_run_at_once(aws_testbed: AwsTestbed) -> None:
    lines = aws_testbed.do("up")
    assert lines == aws_testbed.do("env")
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:" in lines
    assert "moto: runs as" in aws_testbed.do("status")
    job = submit(aws_testbed, "compute")
    until(lambda: state(aws_testbed, job) == "RUNNING", 20)
    aws_testbed.client("scancel", job)


@pytest.mark.parametrize("arguments", [[], ["ice"], ["ice", "a b"], ["spot-loss", "n1"], ["launch"]], ids=" ".join)
def test_wrong_use_is_told(aws_testbed: AwsTestbed, arguments: list[str]) -> None:
    done = subprocess.run(
        [str(SCRIPT), *arguments], env=aws_testbed.environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert done.stderr
