"""The policies of deploy/parallelcluster/iam: small, and still enough, judged by moto's own IAM."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from pto_dispatcher_parallelcluster.checks import Account, check_account
from pto_dispatcher_parallelcluster.head_node import Node
from pto_proto.ids import RunId
from pto_s3 import Area, Bucket, Pool, RunSync, S3Denied, run_prefix
from pto_s3 import limits as bounds
from pto_s3.client import client_config

from .buckets import REGION
from .moto_process import moto_process

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "parallelcluster" / "iam"
POLICIES = sorted(FOLDER.glob("*.json"))
PLACES = {"BUCKET", "REGION", "ACCOUNT", "CLUSTER"}
RUN = RunId("run-000001")
NOT_JUDGED = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["cloudformation:DescribeStacks", "sts:GetCallerIdentity"], "Resource": "*"}
    ],
}
"""moto knows no resources of these two; AWS allows the second one to everybody."""
ENFORCED_FROM_NOW_ON = b"0"


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_policies_are_well_formed_and_allow_no_family_of_actions(path: Path) -> None:
    policy = json.loads(path.read_text())
    assert policy["Version"] == "2012-10-17"
    names = [statement["Sid"] for statement in policy["Statement"]]
    assert len(names) == len(set(names))
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Z]\w+", action) for action in statement["Action"]), statement
        wide = {
            "ec2:DescribeInstances",
            "cloudformation:DescribeStacks",
        }  # AWS knows no narrower resource for the first
        assert statement["Resource"] != "*" or set(statement["Action"]) <= wide
    assert set(re.findall(r"\b[A-Z]{4,}\b", path.read_text())) <= PLACES


def test_head_node_and_requester_look_at_the_same_part() -> None:
    for path in POLICIES:
        for statement in json.loads(path.read_text())["Statement"]:
            for resource in (
                [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
            ):
                if ":s3:::" in resource and "/" in resource:
                    assert resource.startswith("arn:aws:s3:::BUCKET/parallel-orchestrator/")


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """An account that enforces; (address, keys of each policy's user)."""
    with moto_process() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "for-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "for-tests")
        iam = boto3.client("iam", region_name=REGION, endpoint_url=url)
        account = boto3.client("sts", region_name=REGION, endpoint_url=url).get_caller_identity()["Account"]
        s3 = boto3.client("s3", region_name=REGION, endpoint_url=url)
        s3.create_bucket(Bucket="guarded", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="guarded", Key="private/salaries.csv", Body=b"1")
        tags = [{"Key": "parallelcluster:version", "Value": "3"}]
        template = '{"Resources": {"T": {"Type": "AWS::SNS::Topic"}}}'
        cloud = boto3.client("cloudformation", region_name=REGION, endpoint_url=url)
        cloud.create_stack(StackName="my-cluster", TemplateBody=template, Tags=tags)
        keys = {}
        for path in POLICIES:
            text = path.read_text().replace("BUCKET", "guarded").replace("REGION", REGION)
            text = text.replace("ACCOUNT", account).replace("CLUSTER", "my-cluster")
            iam.create_user(UserName=path.stem)
            iam.put_user_policy(UserName=path.stem, PolicyName="ours", PolicyDocument=text)
            iam.put_user_policy(UserName=path.stem, PolicyName="moto", PolicyDocument=json.dumps(NOT_JUDGED))
            key = iam.create_access_key(UserName=path.stem)["AccessKey"]
            keys[path.stem] = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{url}/moto-api/reset-auth", ENFORCED_FROM_NOW_ON, plain, method="POST"), timeout=10).close()
        yield url, keys


def bucket_as(url: str, keys: dict[str, str]) -> Bucket:
    client: Any = boto3.client("s3", region_name=REGION, endpoint_url=url, config=client_config(), **keys)
    return Bucket(client, "guarded")


def test_the_head_nodes_policy_is_enough_and_no_more(
    guarded: tuple[str, dict[str, dict[str, str]]], pool: Pool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    url, keys = guarded
    bucket = bucket_as(url, keys["head-node"])
    folders = {area: tmp_path / area for area in Area}
    for folder in folders.values():
        folder.mkdir()
    (folders[Area.RESULTS] / "a.1.json").write_text("{}")
    (folders[Area.RESULTS] / "big.1.tar").write_bytes(b"x" * (bounds.PART_BYTES + 1))
    (folders[Area.STATE] / "jobs.json").write_text("{}")
    syncing = RunSync(bucket, RUN, folders, pool)
    assert syncing.round().uploaded == 2
    assert RunSync(bucket, RUN, {area: tmp_path / "other" / area for area in Area}, pool).round().downloaded == 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["head-node"]["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["head-node"]["aws_secret_access_key"])
    found = list(check_account(Account("my-cluster", "guarded", REGION), Node()))
    assert [one.what for one in found if one.mark == "FAIL"] == ["nodes of my-cluster"]  # this account has no instances
    with pytest.raises(S3Denied, match="s3:GetObject on s3://guarded/private"):
        bucket.get("private/salaries.csv")
    with pytest.raises(S3Denied, match="s3:DeleteObject"):
        bucket.delete(run_prefix(RUN, Area.RESULTS) + "a.1.json")
    with pytest.raises(S3Denied, match="s3:PutObject"):
        bucket.put_once("elsewhere/a", b"")


def test_a_requester_reads_and_writes_nothing(guarded: tuple[str, dict[str, dict[str, str]]]) -> None:
    url, keys = guarded
    other = RunId("run-000002")
    key = run_prefix(other, Area.RESULTS) + "a.1.json"
    bucket_as(url, keys["head-node"]).put_once(key, b"{}")
    requester = bucket_as(url, keys["requester"])
    assert requester.get(key) == b"{}"
    assert [stored.key for stored in requester.list(run_prefix(other))] == [key]
    with pytest.raises(S3Denied):
        requester.put_once(key + ".other", b"")
    with pytest.raises(S3Denied):
        bucket_as(url, keys["compute-node"]).get(key)
