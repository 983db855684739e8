"""What the checks of the account find, each fault by itself, and that every failure says what, where and what to do."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from pto_dispatcher_parallelcluster.checks import PROBES, Account, Finding, check_account
from pto_dispatcher_parallelcluster.head_node import Node, parse_node, read_node

from .buckets import REGION
from .moto_process import moto_process
from .proxy import Fault, Proxy, proxy_before

FILL = Path(__file__).resolve().parents[2] / "deploy" / "testbed" / "aws_account.py"
FINE = Account("my-cluster", "my-bucket", REGION)
ELSEWHERE = Node()


@pytest.fixture(scope="module")
def account() -> Iterator[str]:
    """An account of its own, filled as the test bed's."""
    spec = importlib.util.spec_from_file_location("aws_account", FILL)
    assert spec is not None
    assert spec.loader is not None
    filling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(filling)
    with pytest.MonkeyPatch.context() as patch, moto_process() as url:
        patch.setenv("AWS_ACCESS_KEY_ID", "for-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "for-tests")
        filling.fill(url)
        filling.fill(url)
        yield url


@pytest.fixture
def trouble(account: str, fake_credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy_before(account) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def client(service: str, account: str, region: str = REGION) -> Any:
    return boto3.client(service, region_name=region, endpoint_url=account)


def found(asked: Account = FINE, node: Node = ELSEWHERE) -> list[Finding]:
    return list(check_account(asked, node))


def failures(asked: Account = FINE, node: Node = ELSEWHERE) -> list[str]:
    return [f"{one.what}: {one.said}" for one in found(asked, node) if one.mark not in ("ok", "note")]


def test_an_account_that_is_fine(trouble: Proxy, account: str) -> None:
    assert [(one.mark, one.what) for one in found()] == [
        ("ok", "AWS credentials"),
        ("ok", "bucket my-bucket"),
        ("ok", "permissions on my-bucket"),
        ("ok", "cluster my-cluster"),
        ("ok", "nodes of my-cluster"),
    ]
    assert "Contents" not in client("s3", account).list_objects_v2(Bucket="my-bucket", Prefix=PROBES)
    assert "Uploads" not in client("s3", account).list_multipart_uploads(Bucket="my-bucket")


def test_bucket_and_cluster_that_are_not_there(trouble: Proxy) -> None:
    bucket, cluster = failures(Account("mycluster", "mybucket", REGION))
    assert "there is no bucket 'mybucket'" in bucket
    assert "aws s3 mb s3://mybucket" in bucket
    assert REGION in bucket
    assert "no ParallelCluster of this name in eu-central-1 (there are gpu-cluster, ml-training, my-cluster)" in cluster
    assert "--aws-cluster-name" in cluster


def test_bucket_of_another_region(trouble: Proxy, account: str) -> None:
    client("s3", account, "us-west-2").create_bucket(
        Bucket="far-bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    [said] = failures(Account("my-cluster", "far-bucket", REGION))
    assert "the bucket is in region us-west-2 and not in eu-central-1: give --aws-region us-west-2" in said


def test_cluster_of_another_region(trouble: Proxy) -> None:
    said = failures(Account("my-cluster", "my-bucket", "eu-west-1"))
    assert any("in region eu-central-1 and not in eu-west-1" in one for one in said)
    assert any("no ParallelCluster of this name in eu-west-1 (there is none at all)" in one for one in said)


@pytest.mark.parametrize(
    ("fault", "action"),
    [
        (Fault("denied", "PUT"), "s3:PutObject on s3://my-bucket/parallel-orchestrator/_probe/"),
        (Fault("denied", "GET", "_probe/"), "s3:GetObject on s3://my-bucket/parallel-orchestrator/_probe/"),
        (Fault("denied", "GET", "list-type=2"), "s3:ListBucket on s3://my-bucket"),
        (Fault("denied", "GET", "?uploads"), "s3:ListBucketMultipartUploads on s3://my-bucket"),
        (Fault("denied", "DELETE", "uploadId"), "s3:AbortMultipartUpload on s3://my-bucket/"),
        (Fault("denied", "DELETE", unless="uploadId"), "s3:DeleteObject on s3://my-bucket/"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_action_that_is_denied_is_named(trouble: Proxy, account: str, fault: Fault, action: str) -> None:
    trouble.faults.append(fault)
    lines = found()
    [said] = [line.said for line in lines if line.mark == "FAIL"]
    assert action in said
    assert REGION in said
    assert "polic" in said
    left = client("s3", account).list_objects_v2(Bucket="my-bucket", Prefix=PROBES).get("Contents", ())
    assert bool(left) == ("s3:DeleteObject" in action)
    for one in left:
        assert any(note.mark == "note" and one["Key"] in note.said for note in lines)
        client("s3", account).delete_object(Bucket="my-bucket", Key=one["Key"])


def test_a_probe_that_was_refused_is_not_said_to_be_left_behind(trouble: Proxy, account: str) -> None:
    trouble.faults += [Fault("denied", "PUT"), Fault("denied", "DELETE", times=9)]
    assert not any("left behind" in line.said for line in found())


def test_a_stack_that_is_no_cluster(trouble: Proxy, account: str) -> None:
    client("cloudformation", account).create_stack(
        StackName="web-shop", TemplateBody='{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}'
    )
    [said] = failures(Account("web-shop", "my-bucket", REGION))
    assert "no ParallelCluster (it has no tag parallelcluster:version)" in said


def test_a_head_node_that_is_stopped(trouble: Proxy, account: str) -> None:
    ec2 = client("ec2", account)
    wanted = [{"Name": "tag:parallelcluster:cluster-name", "Values": ["gpu-cluster"]}]
    head = ec2.describe_instances(Filters=wanted)["Reservations"][0]["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[head])
    [said] = failures(Account("gpu-cluster", "ml-bucket", REGION))
    assert f"the head node {head} is stopped: aws ec2 start-instances --region {REGION} --instance-ids {head}" in said


def test_the_head_node_of_another_cluster(trouble: Proxy) -> None:
    [said] = failures(FINE, Node("other", REGION, "HeadNode"))
    assert "belongs to cluster other: give --aws-cluster-name other" in said
    [said] = failures(FINE, Node("my-cluster", "eu-west-1", "HeadNode"))
    assert "give --aws-region eu-west-1" in said


def test_on_the_head_node_the_stack_need_not_be_visible(trouble: Proxy) -> None:
    trouble.faults.append(Fault("denied", "POST", when=lambda: trouble.seen["DELETE"] >= 2, times=9))
    assert failures(FINE, Node("my-cluster", REGION, "HeadNode")) == []
    trouble.seen.clear()
    [said] = failures()
    assert "cloudformation:DescribeStacks in eu-central-1 is denied" in said


def test_without_credentials_there_is_one_sentence(trouble: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    [said] = failures()
    assert "AWS_ACCESS_KEY_ID" in said
    assert "aws sts get-caller-identity" in said


def test_an_account_that_is_away_is_said_to_be_away(trouble: Proxy) -> None:
    trouble.faults.append(Fault("away", times=1000))
    assert {one.mark for one in found()} == {"AWAY"}


def test_a_node_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "cfnconfig").write_text('stack_name=my-cluster\ncfn_region="eu-west-1"\ncfn_node_type=HeadNode\n# x\n')
    assert read_node(tmp_path / "cfnconfig") == Node("my-cluster", "eu-west-1", "HeadNode")
    assert parse_node("nothing of this kind") == Node()
    assert read_node(tmp_path / "missing") == Node()
