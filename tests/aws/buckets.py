"""Fixtures: one moto server for all tests that ask for it, a bucket of its own for each, and a proxy that makes trouble."""

import secrets
from collections.abc import Iterator

import pytest

from pto_s3 import Bucket, Pool, open_bucket

from .aws_testbed import AwsTestbed
from .moto_process import moto_process
from .proxy import Proxy, proxy_before

REGION = "eu-central-1"


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with moto_process() as url:
        yield url


@pytest.fixture
def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "for-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "for-tests")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bucket(moto: str, fake_credentials: None) -> Bucket:
    """A fresh bucket, straight."""
    opened = open_bucket(f"pto-{secrets.token_hex(6)}", REGION, endpoint_url=moto)
    opened.client.create_bucket(Bucket=opened.name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return opened


@pytest.fixture
def proxy(moto: str) -> Iterator[Proxy]:
    with proxy_before(moto) as running:
        yield running


@pytest.fixture
def shaky(bucket: Bucket, proxy: Proxy) -> Bucket:
    """The same bucket, seen through the proxy."""
    return open_bucket(bucket.name, REGION, endpoint_url=proxy.url)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.close()


@pytest.fixture(scope="session")
def aws_testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsTestbed]:
    """One for all tests; those that leave it changed set it right again."""
    testbed = AwsTestbed.start(tmp_path_factory.mktemp("aws"))
    yield testbed
    testbed.do("down")
