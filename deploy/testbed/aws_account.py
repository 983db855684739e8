"""Fills a moto server so that it looks like an account with ParallelClusters: stacks, instances and buckets.

python aws_account.py URL
"""

import sys

import boto3

REGION = "eu-central-1"
CLUSTERS = (("my-cluster", "my-bucket"), ("gpu-cluster", "ml-bucket"), ("ml-training", "ml-data"))
VERSION = "3.13.0"
TEMPLATE = """{"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}"""


def fill(url: str) -> None:
    """Harmless if some of it is there."""
    made = {name: boto3.client(name, region_name=REGION, endpoint_url=url) for name in ("s3", "ec2", "cloudformation")}
    stacks = {stack["StackName"] for stack in made["cloudformation"].describe_stacks()["Stacks"]}
    buckets = {bucket["Name"] for bucket in made["s3"].list_buckets()["Buckets"]}
    images = made["ec2"].describe_images(Owners=["amazon"])["Images"]
    for cluster, bucket in CLUSTERS:
        tags = [
            {"Key": "parallelcluster:version", "Value": VERSION},
            {"Key": "parallelcluster:cluster-name", "Value": cluster},
        ]
        if bucket not in buckets:
            made["s3"].create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        if cluster not in stacks:
            made["cloudformation"].create_stack(StackName=cluster, TemplateBody=TEMPLATE, Tags=tags)
            kinds = [*tags, {"Key": "parallelcluster:node-type", "Value": "HeadNode"}]
            made["ec2"].run_instances(
                ImageId=images[0]["ImageId"],
                MinCount=1,
                MaxCount=1,
                TagSpecifications=[{"ResourceType": "instance", "Tags": kinds}],
            )


if __name__ == "__main__":
    fill(sys.argv[1])
