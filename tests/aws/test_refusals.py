"""What S3 says no with becomes what somebody has to do: a table."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from pto_s3 import (
    BadCredentials,
    NoSuchBucket,
    ObjectMissing,
    S3Away,
    S3Denied,
    S3Error,
    WrongRegion,
    open_bucket,
)
from pto_s3.errors import ConditionFailed, translate, translated

TABLE = [
    ("AccessDenied", 403, S3Denied, "allow s3:PutObject there"),
    ("403", 403, S3Denied, "s3://b/k"),
    ("InvalidAccessKeyId", 403, BadCredentials, "aws sts get-caller-identity"),
    ("ExpiredToken", 400, BadCredentials, "AWS_PROFILE"),
    ("SignatureDoesNotMatch", 403, BadCredentials, "s3:PutObject on s3://b/k"),
    ("RequestTimeTooSkewed", 403, S3Away, "RequestTimeTooSkewed"),
    ("NoSuchBucket", 404, NoSuchBucket, "aws s3 mb s3://b"),
    ("NoSuchKey", 404, ObjectMissing, "s3://b/k"),
    ("NoSuchUpload", 404, ObjectMissing, "s3://b/k"),
    ("PreconditionFailed", 412, ConditionFailed, ""),
    ("ConditionalRequestConflict", 409, S3Away, ""),
    ("SlowDown", 503, S3Away, "SlowDown"),
    ("InternalError", 500, S3Away, ""),
    ("BadDigest", 400, S3Away, ""),
    ("502", 502, S3Away, ""),
    ("PermanentRedirect", 301, WrongRegion, "eu-west-1"),
    ("AuthorizationHeaderMalformed", 400, WrongRegion, "--aws-region"),
    ("KeyTooLongError", 400, S3Error, "KeyTooLongError"),
]


def answer(code: str, status: int, message: str = "words") -> ClientError:
    headers = {"x-amz-bucket-region": "eu-west-1"}
    told = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(told, "PutObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "status", "kind", "words"), TABLE, ids=[row[0] for row in TABLE])
def test_each_refusal_has_its_kind_and_says_what_to_do(code: str, status: int, kind: type, words: str) -> None:
    said = translate(answer(code, status), "b", "s3:PutObject", "k")
    assert type(said) is kind
    assert words in str(said)


def test_a_bucket_that_is_missing_answers_without_a_code() -> None:
    assert type(translate(answer("404", 404), "b", "s3:ListBucket")) is NoSuchBucket


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NoCredentialsError(), BadCredentials),
        (EndpointConnectionError(endpoint_url="http://x"), S3Away),
        (ReadTimeoutError(endpoint_url="http://x"), S3Away),
        (ConnectionResetError("reset"), S3Away),
    ],
)
def test_silence_passes_and_missing_credentials_do_not(error: Exception, kind: type) -> None:
    with pytest.raises(kind), translated("b", "s3:PutObject", "k"):
        raise error


def test_a_profile_that_is_not_there_is_a_credential_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(BadCredentials, match="nobody"):
        open_bucket("b", "eu-central-1")
