"""S3 as the second home of a run: its state, tasks and results, and blobs for parties without a common disk.

Imports ports and proto. Invariant: whatever is written twice, cut, or answered by silence ends as if it had been
written once; what cannot be known from an answer is settled by looking.
"""

from pto_s3.backed_store import BackedBlobStore
from pto_s3.blob_store import S3BlobStore
from pto_s3.bucket import Bucket, Stored
from pto_s3.client import client_config, open_bucket
from pto_s3.errors import (
    BadCredentials,
    NoSuchBucket,
    ObjectDamaged,
    ObjectMissing,
    OtherContent,
    OtherWriter,
    S3Away,
    S3Denied,
    S3Error,
    WrongRegion,
    translated,
)
from pto_s3.layout import AREAS, Area, blob_key, run_prefix
from pto_s3.pause import pause_s
from pto_s3.pool import Pool
from pto_s3.run_sync import RunSync, SyncReport
from pto_s3.sync_plan import LocalFile, Settled, SyncPlan, plan_sync

__all__ = [
    "AREAS",
    "Area",
    "BackedBlobStore",
    "BadCredentials",
    "Bucket",
    "LocalFile",
    "NoSuchBucket",
    "ObjectDamaged",
    "ObjectMissing",
    "OtherContent",
    "OtherWriter",
    "Pool",
    "RunSync",
    "S3Away",
    "S3BlobStore",
    "S3Denied",
    "S3Error",
    "Settled",
    "Stored",
    "SyncPlan",
    "SyncReport",
    "WrongRegion",
    "blob_key",
    "client_config",
    "open_bucket",
    "pause_s",
    "plan_sync",
    "run_prefix",
    "translated",
]
