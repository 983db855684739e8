"""Opens a bucket: the one place that makes a boto3 client. Imports boto3 and siblings.

Invariant: credentials are boto3's business (environment, profile, role of the instance) and are never looked at here.
"""

from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from pto_s3 import limits
from pto_s3.bucket import Bucket
from pto_s3.errors import translated


def client_config() -> Config:
    """How all our clients talk: bounded waits, short retries with jitter, one connection per thread."""
    return Config(
        connect_timeout=limits.CONNECT_TIMEOUT_S,
        read_timeout=limits.READ_TIMEOUT_S,
        max_pool_connections=limits.THREADS,
        retries={"mode": "standard", "total_max_attempts": limits.TRIES},
    )


def open_bucket(name: str, region: str, *, endpoint_url: str = "") -> Bucket:
    """The bucket, without asking anything yet; at ``endpoint_url``, AWS_ENDPOINT_URL, or AWS. Raises BadCredentials."""
    with translated(name, "s3:ListBucket"):
        session: Any = boto3.session.Session(region_name=region or None)
        return Bucket(session.client("s3", endpoint_url=endpoint_url or None, config=client_config()), name)
