"""The AWS test bed itself: what others rely on when they try something out on it."""

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


def test_capacity_errors_late_nodes_and_lost_instances(aws_testbed: AwsTestbed) -> None:
    late = submit(aws_testbed, "spot")
    until(lambda: state(aws_testbed, late) == "CONFIGURING")
    aws_testbed.do("ice", "InsufficientInstanceCapacity")
    try:
        refused = submit(aws_testbed, "ondemand")
        until(lambda: state(aws_testbed, refused) == "NODE_FAIL")
        nodes = aws_testbed.client("scontrol", "show", "node", "ondemand-dy-c1-1")
        assert "(Code:InsufficientInstanceCapacity)" in nodes
    finally:
        aws_testbed.do("ice", "off")
    until(lambda: state(aws_testbed, late) == "RUNNING")
    aws_testbed.do("spot-loss", aws_testbed.client("squeue", "-h", "-o", "%N", "-j", late))
    until(lambda: state(aws_testbed, late) == "NODE_FAIL")


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
