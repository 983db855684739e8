"""AWS credentials by every way that AWS knows: keys, profile (SSO, assumed role, process), environment, instance role.

The only module that imports boto3 and botocore, when Bedrock is first used. Invariant: botocore alone keeps and
renews them, ten to fifteen minutes before they end; nothing of them is kept here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from pto_engines.models.fault import Fault

if TYPE_CHECKING:
    from pto_engines.models.settings import ModelSettings

MISSING = "Bedrock needs the extra 'anthropic': pip install 'parallel-task-orchestrator[anthropic]'"


class AwsKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Keys for one program that cannot renew them itself. ``method`` says where they came from."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    method: str = ""
    ends_at: str = ""
    """ISO time; empty: they do not end, or nobody knows."""

    def __repr__(self) -> str:
        """No secret."""
        return f"AwsKeys(method={self.method!r}, ends_at={self.ends_at!r})"

    def variables(self) -> dict[str, str]:
        """As environment variables."""
        found = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        return found | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})


class NoCredentials(Exception):
    """There are no usable credentials; ``fault`` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def check_credentials(settings: ModelSettings) -> Fault | None:
    """What can be known to be wrong without asking anybody; None if nothing is."""
    if settings.provider == "anthropic":
        return None if settings.api_key else Fault(kind="no-credentials", message="ANTHROPIC_API_KEY is not set")
    if not settings.region:
        return _bad("no AWS region is given; set --docker-bedrock-region or AWS_REGION")
    given = (settings.aws_access_key_id, settings.aws_secret_access_key)
    if any(given) and not all(given):
        missing = "AWS_SECRET_ACCESS_KEY" if given[0] else "AWS_ACCESS_KEY_ID"
        return _bad(f"{missing} is missing beside its other half; give both, or neither")
    if settings.api_key and (any(given) or settings.aws_profile):
        return _bad("AWS_BEARER_TOKEN_BEDROCK and AWS keys or a profile are given; use one of them")
    return None


def resolve_keys(settings: ModelSettings) -> AwsKeys:
    """Keys for one program, renewed before they end where their source can do that. May ask AWS; blocks.

    Raises NoCredentials.
    """
    fault = check_credentials(settings)
    if fault is not None:
        raise NoCredentials(fault)
    try:
        credentials = _session(settings).get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
    except Exception as error:
        known = fault_of_credentials(error)
        if known is None:
            raise
        raise NoCredentials(msgspec.structs.replace(known, profile=settings.aws_profile)) from error
    if credentials is None or frozen is None:
        raise NoCredentials(Fault(kind="no-credentials", message="AWS found no credentials by any of its ways"))
    ends = getattr(credentials, "_expiry_time", None)
    if isinstance(ends, datetime) and ends <= datetime.now(UTC):
        raise NoCredentials(Fault(kind="expired", profile=settings.aws_profile))
    return AwsKeys(
        access_key_id=str(frozen.access_key),
        secret_access_key=str(frozen.secret_key),
        session_token=str(frozen.token or ""),
        method=str(credentials.method or ""),
        ends_at=ends.isoformat() if isinstance(ends, datetime) else "",
    )


def fault_of_credentials(error: Exception) -> Fault | None:
    """What botocore and its users say about credentials, in plain data; None if it is about something else."""
    name = type(error).__name__
    if type(error).__module__.startswith("botocore"):
        if name in _EXPIRED:
            return Fault(kind="expired", message=str(error))
        if name in _UNREACHABLE:
            return Fault(kind="unreachable", message=str(error))
        if name == "ClientError":  # STS or SSO answered
            answer: Any = getattr(error, "response", {})
            said = answer.get("Error", {})
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            kind: Any = "expired" if "Expired" in str(said.get("Code")) else "answer"
            return Fault(kind=kind, status=status, type=str(said.get("Code", "")), message=str(said.get("Message", "")))
        return _bad(str(error))
    if isinstance(error, RuntimeError) and "credentials" in str(error):
        return Fault(kind="no-credentials", message=str(error))
    return None


_EXPIRED = {"SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "SSOError"}
_UNREACHABLE = {
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "ProxyConnectionError",
}


def _session(settings: ModelSettings) -> Any:
    try:
        import boto3  # type: ignore[import-untyped]
    except ImportError as error:
        raise NoCredentials(_bad(MISSING)) from error
    return boto3.Session(
        profile_name=settings.aws_profile or None,
        region_name=settings.region,
        aws_access_key_id=settings.aws_access_key_id or None,
        aws_secret_access_key=settings.aws_secret_access_key or None,
        aws_session_token=settings.aws_session_token or None,
    )


def _bad(message: str) -> Fault:
    return Fault(kind="settings", message=message)
