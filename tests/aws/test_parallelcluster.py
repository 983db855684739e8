"""The ParallelCluster lane on the test bed: late, missing and lost instances, and a bucket that has it all in the end."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pto_dispatcher_parallelcluster.shelf import Result
from pto_proto.manifests import Manifest
from pto_s3 import Bucket, Pool, blob_key
from pto_s3 import limits as bounds

from .aws_testbed import AwsTestbed
from .cluster_lane import ClusterLane, there
from .proxy import Fault, Proxy

pytestmark = pytest.mark.slow
AWAY_S = float(os.environ.get("PTO_AWS_AWAY_S", "0"))
"""How long S3 is away while there is something to bring, beyond what the tasks take."""


@pytest.fixture
async def lane(
    aws_testbed: AwsTestbed, tmp_path: Path, shaky: Bucket, pool: Pool
) -> AsyncIterator[ClusterLane]:  # fmt: skip
    lane = ClusterLane(aws_testbed, tmp_path, shaky, pool)
    await lane.open()
    yield lane
    await lane.backend.close()


async def in_the_bucket(lane: ClusterLane, bucket: Bucket) -> dict[str, bytes]:
    """Wait until it has everything."""
    for _ in range(300):
        found = await asyncio.to_thread(there, bucket, lane.run)
        if found and found == lane.here() and not list((lane.folder / "spool/s3" / lane.run / "told").glob("*")):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"only {sorted(found)} of {sorted(lane.here())}")


async def test_everything_is_in_the_bucket_by_name_and_digest(lane: ClusterLane, bucket: Bucket) -> None:
    big = bounds.PART_BYTES * 2 + 5
    end = await lane.run_task("made", command=f"head -c {big} /dev/urandom >big.bin; echo said", outputs=("big.bin",))
    await lane.run_task("failed", command="exit 3")
    await lane.until(lambda: b'"status": "failed"' in lane.here()["state/tasks.json"])
    found = await in_the_bucket(lane, bucket)
    job = lane.said["made", 1][1].job  # type: ignore[union-attr]
    assert {name.partition("/")[0] for name in found} == {"state", "tasks", "results"}
    result = msgspec.json.decode(found[f"results/made.1.{job}.json"], type=Result)
    assert (result.outcome, result.manifest, result.log) == ("succeeded", end.manifest, end.log)
    manifest = msgspec.json.decode(await asyncio.to_thread(bucket.get, blob_key(end.manifest)), type=Manifest)
    for digest in (manifest.bundle, end.log, end.tree):
        assert await asyncio.to_thread(bucket.digest_of, blob_key(digest)) == digest
    assert json.loads(found["state/tasks.json"])["failed"]["status"] == "failed"
    assert json.loads(found["state/jobs.json"])[job] == "made"


async def test_no_capacity_rests_the_lane_and_a_lost_spot_instance_moves_the_task(
    lane: ClusterLane, aws_testbed: AwsTestbed
) -> None:
    for queue in ("spot", "ondemand"):
        aws_testbed.power_down(queue)
    aws_testbed.do("ice", "UnauthorizedOperation")
    try:
        forbidden = await lane.run_task("f", slurm="ondemand")
        aws_testbed.do("ice", "InsufficientInstanceCapacity")
        refused = await lane.run_task("t", slurm="spot")
    finally:
        aws_testbed.do("ice", "off")
    assert (forbidden.failure, forbidden.retry_after_s) == ("config", 0.0)
    assert "slurm_resume.log" in forbidden.hint
    assert (refused.failure, refused.retry_after_s, refused.node) == ("capacity", 77.0, "")
    assert "InsufficientInstanceCapacity: AWS gave no instance for spot-dy-c1-" in refused.reason
    assert "TaskStarted" not in lane.kinds("t")

    order = await lane.start("t", attempt=2, slurm="spot", command="sleep 300")
    await lane.until(lambda: "provisioning" in lane.states("t", 2), 60)
    await lane.until(lambda: "TaskStarted" in lane.kinds("t", 2), 90)
    [(job, _)] = lane.jobs(order)
    aws_testbed.do("spot-loss", aws_testbed.client("squeue", "-h", "-o", "%N", "-j", job))
    lost = await lane.end("t", 2)
    assert (lost.failure, lost.outcome) == ("infra", "failed")
    assert "goes to queue ondemand from now on" in lost.hint

    await lane.restart()  # which has not forgotten the losses
    moved = await lane.start("t", attempt=3, slurm="spot", command="sleep 300")
    await lane.until(lambda: bool(lane.jobs(moved)))
    [(job, _)] = lane.jobs(moved)
    assert aws_testbed.client("squeue", "-h", "-o", "%P", "-j", job) == "ondemand"
    assert await lane.backend.stop(moved, "enough seen")
    assert (await lane.end("t", 3)).outcome == "cancelled"


async def test_tasks_go_on_while_s3_is_away_and_the_bucket_is_completed_later(
    lane: ClusterLane, proxy: Proxy, bucket: Bucket
) -> None:
    proxy.faults.append(Fault("away", times=1_000_000))
    ends = await asyncio.gather(*(lane.run_task(f"t{n}", command=f"echo {n} >out.txt") for n in range(8)))
    assert {end.outcome for end in ends} == {"succeeded"}
    await lane.until(lambda: proxy.hit["away"] > 4)
    assert await asyncio.to_thread(there, bucket, lane.run) == {}
    await asyncio.sleep(AWAY_S)
    proxy.faults[:] = [
        Fault("denied", "PUT", times=2), Fault("slow-down", times=20), Fault("lost-answer", "PUT", times=10),
    ]  # fmt: skip
    found = await in_the_bucket(lane, bucket)
    assert len([name for name in found if name.startswith("results/")]) == 8
    assert proxy.hit["denied"]
    assert proxy.hit["lost-answer"]


async def test_what_was_left_when_it_was_killed_is_brought_over_by_the_next_one(
    lane: ClusterLane, proxy: Proxy, bucket: Bucket
) -> None:
    proxy.faults.append(Fault("away", times=1_000_000))
    await lane.run_task("t", command="echo x >out.txt")
    await lane.until(lambda: {"state/jobs.json", "state/tasks.json"} <= lane.here().keys())  # written behind the end
    await lane.kill()
    proxy.faults.clear()
    await lane.restart(adopt=False)
    found = await in_the_bucket(lane, bucket)
    assert sorted(name.partition("/")[0] for name in found) == ["results", "state", "state", "tasks"]


async def test_no_key_of_the_head_node_is_on_a_node_or_in_the_bucket(lane: ClusterLane, bucket: Bucket) -> None:
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "for-tests"
    end = await lane.run_task("t", command="env; cat order.json 2>/dev/null; true")
    assert b"AWS_SECRET" not in await lane.blobs.get(end.log)
    found = await in_the_bucket(lane, bucket)
    assert not any(b"for-tests" in data for data in found.values())
