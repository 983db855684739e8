"""What S3 says no with: one exception per thing somebody has to do. Imports botocore for its exceptions only.

Invariant: every message names bucket, action and key or region, and what to do; none holds a credential.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as boto  # type: ignore[import-untyped]

CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
DENIED_CODES = {"403", "AccessDenied", "AllAccessDisabled", "UnauthorizedOperation", "AccessDeniedException"}
REGION_CODES = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
GONE_CODES = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "XAmzContentChecksumMismatch",
}
"""Passes by itself: too many requests, S3's own trouble, bytes damaged on their way, somebody else just writing."""


class S3Error(Exception):
    """S3 refused in a way that has no name here. Not known to pass; the message holds its own words."""


class S3Away(S3Error):
    """S3 cannot be reached, or asks for fewer requests. Passes by itself: try again later."""


class S3Denied(S3Error):
    """These credentials may not do this. Somebody has to change a policy; trying again before does not help."""


class BadCredentials(S3Denied):
    """There are no credentials, or they are wrong or have run out. Somebody has to provide others."""


class NoSuchBucket(S3Error):
    """The bucket does not exist. Somebody mistyped it, or has to create it."""


class WrongRegion(S3Error):
    """The bucket is in another region than was said. Somebody has to name the right one."""


class ObjectMissing(S3Error):
    """Nothing has this key. Trying again may help when it was announced by somebody who is not done yet."""


class ObjectDamaged(S3Error):
    """What S3 holds does not match its own digest. It has to be deleted and written again."""


class OtherContent(S3Error):
    """Another content won this key, which is written once. The loser is late or wrong; trying again does not help."""


class OtherWriter(S3Error):
    """Somebody else has replaced a file that has one writer. This writer is not the one any more."""


class ConditionFailed(S3Error):
    """The condition of a write did not hold; the caller looks at what is there."""


@contextmanager
def translated(bucket: str, action: str, key: str = "", *, place: str = "") -> Iterator[None]:
    """Whatever boto raises in the block becomes an ``S3Error``; ``action`` as in a policy, such as ``s3:PutObject``.

    ``place`` is how to call what was asked, if it is no object or bucket.
    """
    place = place or _place(bucket, key)
    try:
        yield
    except boto.ClientError as error:
        raise translate(error, bucket, action, key, place) from error
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.ProfileNotFound,
        boto.TokenRetrievalError,
    ) as error:
        raise BadCredentials(no_credentials(action, place, str(error))) from error
    except (boto.CredentialRetrievalError, boto.MetadataRetrievalError) as error:
        raise S3Away(f"the credentials for {action} on {place} could not be fetched: {error}") from error
    except boto.ParamValidationError as error:
        raise S3Error(f"{action} on {place} cannot be asked: {error}") from error
    except (boto.BotoCoreError, OSError) as error:
        raise S3Away(f"{action} on {place} got no answer: {error}") from error


def translate(error: boto.ClientError, bucket: str, action: str, key: str = "", place: str = "") -> S3Error:
    """The exception for one answer of S3. Pure."""
    place, (code, status, words) = place or _place(bucket, key), _answer(error)
    if code in CREDENTIAL_CODES:
        return BadCredentials(no_credentials(action, place, words))
    if code in DENIED_CODES or (status == 403 and code not in PASSING_CODES):
        return S3Denied(
            f"{action} on {place} is denied ({words}): allow {action} there in the policy of this role or user"
        )
    if code == "NoSuchBucket" or (code in GONE_CODES and not key):
        return NoSuchBucket(
            f"there is no bucket {bucket!r}: check --aws-s3-bucket, or create it with aws s3 mb s3://{bucket}"
        )
    if code in REGION_CODES:
        return WrongRegion(
            f"{action} on {place}: the bucket is in {_region(error) or 'another region'}: set --aws-region to it"
        )
    if code in GONE_CODES:
        return ObjectMissing(f"{action}: there is no {place}")
    if code == "PreconditionFailed" or status == 412:
        return ConditionFailed(f"{action} on {place}: {words}")
    if code in PASSING_CODES or status >= 500 or status in (408, 409, 429):
        return S3Away(f"{action} on {place} was put off ({code}: {words})")
    return S3Error(f"{action} on {place} failed ({code}: {words})")


def no_credentials(action: str, place: str, words: str) -> str:
    """The sentence for missing, wrong and expired credentials."""
    return (
        f"{action} on {place}: the AWS credentials cannot be used ({words}): on a head node give it a role with this "
        "permission; elsewhere set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and check them with "
        "aws sts get-caller-identity"
    )


def _answer(error: boto.ClientError) -> tuple[str, int, str]:
    answer: dict[str, Any] = error.response
    told = answer.get("Error", {})
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return str(told.get("Code", status)), status, str(told.get("Message", "") or told.get("Code", status))


def _region(error: boto.ClientError) -> str:
    answer: dict[str, Any] = error.response
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", "") or answer.get("Error", {}).get("Region", ""))


def _place(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"
