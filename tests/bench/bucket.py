"""A1: 1,000 small results to a bucket, beside a bare loop of eight threads over boto3 in the same run.

Both write the same objects to one moto server on this machine, in turns; the loop knows nothing but ``put_object``. What
ours does besides is to look at both sides, plan, and write each object on the condition that none is there, with its
SHA-256. ``tests.bench.bucket`` by itself says how memory and rate stay over more results.
"""

import json
import resource
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from tests.aws.moto_process import moto_process

from pto_proto.ids import RunId
from pto_s3 import Area, Bucket, Pool, RunSync
from pto_s3 import limits as bounds
from pto_s3.client import client_config

from .meter import Meter, Record
from .options import Options
from .warm import described

REGION = "eu-central-1"
RESULT = json.dumps({"task": "t", "outcome": "succeeded", "tail": ["x" * 900]}).encode()
"""About 1 kB."""
MANY = 10_000
CREDENTIALS = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}


async def small_results(options: Options) -> AsyncIterator[Record]:
    """Records of bare loop and sync, in turns."""
    n = options.size(1000)
    with _bucket() as bucket, results(n) as folder:
        for repeat in range(options.repeats):
            turns = [_bare, _ours] if repeat % 2 == 0 else [_ours, _bare]
            for turn in turns:
                yield described("A1", bounds.THREADS, options) | turn(bucket, folder, n) | {"rep": repeat}


def _bare(bucket: Bucket, folder: Path, n: int) -> Record:
    client, prefix, meter = _client(bucket.client.meta.endpoint_url), secrets.token_hex(4), Meter()

    def put(path: Path) -> None:
        client.put_object(Bucket=bucket.name, Key=f"{prefix}/{path.name}", Body=path.read_bytes())

    meter.start()
    with ThreadPoolExecutor(bounds.THREADS) as executor:
        list(executor.map(put, sorted(folder.iterdir())))
    meter.stop()
    return meter.record(n) | {"peer": "boto3-loop", "durable": "objects"}


def _ours(bucket: Bucket, folder: Path, n: int) -> Record:
    pool, meter, before = Pool(), Meter(), own_mb()
    own = Bucket(_client(bucket.client.meta.endpoint_url), bucket.name)
    meter.start()
    uploaded = RunSync(own, RunId(f"run-{secrets.token_hex(5)}"), {Area.RESULTS: folder}, pool).round().uploaded
    meter.stop()
    pool.close()
    if uploaded != n:
        raise RuntimeError(f"only {uploaded} of {n} results were uploaded")
    return meter.record(n) | {
        "durable": "objects, checked",
        "grew_mb": round(own_mb() - before, 1),
    }


def own_mb() -> float:
    """Memory of this process alone; moto's grows with what it stores."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _client(url: str) -> Any:
    return boto3.client("s3", region_name=REGION, endpoint_url=url, config=client_config(), **CREDENTIALS)


@contextmanager
def _bucket() -> Iterator[Bucket]:
    with moto_process() as url:
        bucket = Bucket(_client(url), "bench")
        bucket.client.create_bucket(Bucket="bench", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield bucket


@contextmanager
def results(n: int) -> Iterator[Path]:
    """A folder with so many results."""
    with tempfile.TemporaryDirectory() as name:
        for number in range(n):
            (Path(name) / f"t{number}.1.{number}.json").write_bytes(RESULT)
        yield Path(name)


def main() -> None:
    """Memory and rate of the sync alone, as the number of results grows."""
    with _bucket() as bucket:
        for n in (1000, 3000, MANY):
            with results(n) as folder:
                record = _ours(bucket, folder, n)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{n} results: {record['rate']} per second, grew by {record['grew_mb']} MB, peak {peak} MB")


if __name__ == "__main__":
    main()
