"""Whether the account has what a run needs: credentials, bucket, region, permissions, cluster. Blocking.

Imports pto_s3, boto3 and siblings. Invariants: every failure names bucket or cluster, region and action, and what to
do; the probe leaves nothing behind where it may delete; no check hides another one that can still say something.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import boto3  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from pto_dispatcher_parallelcluster.head_node import Node, read_node
from pto_s3 import BadCredentials, Bucket, S3Away, S3Denied, S3Error, client_config, translated
from pto_s3.layout import ROOT

PROBES = f"{ROOT}_probe/"
"""Where the probe writes; the policies of deploy/parallelcluster/iam allow deleting here and nowhere else."""
VERSION_TAG = "parallelcluster:version"
NAME_TAG = "parallelcluster:cluster-name"
KIND_TAG = "parallelcluster:node-type"
READY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
SHOWN_CLUSTERS = 8

Mark = Literal["ok", "note", "FAIL", "AWAY"]


class Finding(NamedTuple):
    """One line. ``AWAY``: it could not be asked just now, which passes by itself."""

    mark: Mark
    what: str
    said: str


class Account(NamedTuple):
    """What was asked for."""

    cluster: str
    bucket: str
    region: str


def check_account(asked: Account, node: Node | None = None) -> Iterator[Finding]:
    """All findings, in the order in which they are to be read."""
    here = read_node() if node is None else node
    try:
        with translated("", "sts:GetCallerIdentity", place=f"AWS in {asked.region}"):
            session: Any = boto3.session.Session(region_name=asked.region)
            source = getattr(session.get_credentials(), "method", "none")
            identity = session.client("sts", config=client_config()).get_caller_identity()
    except S3Error as error:
        mark: Mark = "AWAY" if isinstance(error, S3Away) else "FAIL"
        yield Finding(mark, "AWS credentials", str(error))
        if isinstance(error, BadCredentials):
            return
    else:
        yield Finding("ok", "AWS credentials", f"{identity['Arn']} (from {source})")
    bucket = Bucket(session.client("s3", config=client_config()), asked.bucket)
    found = _bucket(bucket, asked.region)
    yield found
    if found.mark in ("ok", "note"):
        yield from _permissions(bucket, asked.region)
    yield from _cluster(session, asked, here)


# --- bucket ---------------------------------------------------------------------------------------------------------


def _bucket(bucket: Bucket, region: str) -> Finding:
    what = f"bucket {bucket.name}"
    try:
        # A policy that allows looking into one prefix does not allow HeadBucket, so that comes second.
        with translated(bucket.name, "s3:ListBucket"):
            answer = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=PROBES, MaxKeys=1)
        there = _region(answer)
        if not there:
            with suppress(S3Denied), translated(bucket.name, "s3:ListBucket"):
                there = _region(bucket.client.head_bucket(Bucket=bucket.name))
    except S3Away as error:
        return Finding("AWAY", what, f"S3 in {region} cannot be reached: {error}")
    except S3Denied as error:
        return Finding("FAIL", what, f"{error}; region {region}. A bucket of another account answers like this too")
    except S3Error as error:
        return Finding("FAIL", what, f"{error} (asked in region {region})")
    if there and there != region:
        fix = f"give --aws-region {there}, or another bucket"
        return Finding("FAIL", what, f"s3:ListBucket: the bucket is in region {there} and not in {region}: {fix}")
    return Finding("ok", what, f"is there, in {there or region}")


def _region(answer: dict[str, Any]) -> str:
    return str(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", ""))


def _permissions(bucket: Bucket, region: str) -> Iterator[Finding]:
    """Write, read, list, begin an upload in parts, delete: everything a run does, on one small object."""
    what, key, failures = f"permissions on {bucket.name}", f"{PROBES}{secrets.token_hex(8)}", list[S3Error]()

    def tried(step: Callable[[], object]) -> bool:
        try:
            step()
        except S3Error as error:
            failures.append(error)
            return False
        return True

    def in_parts() -> None:
        with translated(bucket.name, "s3:PutObject", key):
            begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
        with translated(bucket.name, "s3:AbortMultipartUpload", key):
            bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=key, UploadId=begun["UploadId"])

    def unfinished() -> None:
        with translated(bucket.name, "s3:ListBucketMultipartUploads"):
            bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=PROBES)

    may_be_there = True
    try:
        if tried(lambda: bucket.put_once(key, b"probe")):
            tried(lambda: bucket.get(key))
        elif isinstance(failures[0], S3Denied):
            may_be_there = False
        tried(lambda: next(bucket.list(PROBES), None))
        tried(in_parts)
        tried(unfinished)
    finally:
        may_delete = tried(lambda: bucket.delete(key))
    if not failures:
        yield Finding("ok", what, f"put, get, list, parts and delete work below {ROOT}")
    for error in failures:
        mark: Mark = "AWAY" if isinstance(error, S3Away) else "FAIL"
        yield Finding(mark, what, f"{error} (region {region}); the policies are in deploy/parallelcluster/iam")
    if not may_delete and may_be_there:
        yield Finding("note", what, f"the probe s3://{bucket.name}/{key} may be left behind: delete it by hand")


# --- cluster --------------------------------------------------------------------------------------------------------


def _cluster(session: Any, asked: Account, here: Node) -> Iterator[Finding]:
    what = f"cluster {asked.cluster}"
    if here.cluster and here.cluster != asked.cluster:
        yield Finding(
            "FAIL", what, f"this machine belongs to cluster {here.cluster}: give --aws-cluster-name {here.cluster}"
        )
        return
    if here.region and here.region != asked.region:
        yield Finding("FAIL", what, f"this cluster is in region {here.region}: give --aws-region {here.region}")
        return
    try:
        client = session.client("cloudformation", config=client_config())
        with translated("", "cloudformation:DescribeStacks", place=f"cluster {asked.cluster}"):
            stack = _stack(client, asked)
    except S3Denied as error:
        if here.cluster:
            yield Finding("note", what, f"this is its {here.kind}; its state may not be looked at: {error}")
        else:
            fix = f"allow cloudformation:DescribeStacks in {asked.region}, or run this on the head node"
            yield Finding("FAIL", what, f"cloudformation:DescribeStacks in {asked.region} is denied: {fix}")
        return
    except S3Away as error:
        yield Finding("AWAY", what, f"CloudFormation in {asked.region} cannot be reached: {error}")
        return
    except S3Error as error:
        yield Finding("FAIL", what, f"{error} (region {asked.region})")
        return
    if isinstance(stack, str):
        yield Finding("FAIL", what, stack)
        return
    yield _state(stack, what, asked.region)
    yield _instances(session, asked)


def _stack(client: Any, asked: Account) -> dict[str, Any] | str:
    """The cluster's stack, or why there is none."""
    for stack in _stacks(client, StackName=asked.cluster):
        if VERSION_TAG in _tags(stack):
            return stack
        return (
            f"the stack {asked.cluster} in {asked.region} is no ParallelCluster (it has no tag {VERSION_TAG}): check "
            "--aws-cluster-name"
        )
    names = sorted(
        stack["StackName"] for stack in _stacks(client) if VERSION_TAG in _tags(stack) and not stack.get("ParentId")
    )
    more = f" and {len(names) - SHOWN_CLUSTERS} more" if len(names) > SHOWN_CLUSTERS else ""
    there = f"there are {', '.join(names[:SHOWN_CLUSTERS])}{more}" if names else "there is none at all"
    return (
        f"cloudformation:DescribeStacks finds no ParallelCluster of this name in {asked.region} ({there}): check "
        "--aws-cluster-name and --aws-region, or create it with pcluster create-cluster"
    )


def _stacks(client: Any, **which: str) -> Iterator[dict[str, Any]]:
    try:
        for page in client.get_paginator("describe_stacks").paginate(**which):
            yield from page["Stacks"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ValidationError":
            raise


def _state(stack: dict[str, Any], what: str, region: str) -> Finding:
    status, version = stack["StackStatus"], _tags(stack)[VERSION_TAG]
    said = f"ParallelCluster {version} in {region}, {status}"
    if status in READY:
        return Finding("ok", what, said)
    if status.endswith("_IN_PROGRESS") and not status.startswith(("DELETE", "ROLLBACK")):
        return Finding("note", what, f"{said}: it is being changed; jobs may wait until that is done")
    return Finding("FAIL", what, f"{said}: look at pcluster describe-cluster -n {stack['StackName']} -r {region}")


def _instances(session: Any, asked: Account) -> Finding:
    what = f"nodes of {asked.cluster}"
    wanted = [{"Name": f"tag:{NAME_TAG}", "Values": [asked.cluster]}]
    try:
        with translated("", "ec2:DescribeInstances", place=f"cluster {asked.cluster}"):
            pages = session.client("ec2", config=client_config()).get_paginator("describe_instances")
            found = [
                instance
                for page in pages.paginate(Filters=wanted)
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]
    except S3Error as error:
        return Finding("note", what, f"cannot be looked at: {error}")
    heads = [one for one in found if _tags(one).get(KIND_TAG) == "HeadNode" and one["State"]["Name"] != "terminated"]
    computing = sum(_tags(one).get(KIND_TAG) == "Compute" and one["State"]["Name"] == "running" for one in found)
    if not heads:
        return Finding("FAIL", what, f"there is no head node in {asked.region}: was the cluster deleted?")
    head = heads[0]
    if head["State"]["Name"] != "running":
        fix = f"aws ec2 start-instances --region {asked.region} --instance-ids {head['InstanceId']}"
        return Finding("FAIL", what, f"the head node {head['InstanceId']} is {head['State']['Name']}: {fix}")
    return Finding("ok", what, f"head node {head['InstanceId']} runs, and {computing} compute nodes")


def _tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", ())}
