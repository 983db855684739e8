"""What went wrong when a model was asked, and whose matter it is: the failure classes as tables.

Imports msgspec and pto_proto; pure. Invariant: every fault is sorted, an unknown one too, and each ``config`` says what
to do.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from pto_engines.models.limits import MAX_REASON_CHARS, MAX_RETRY_AFTER_S
from pto_proto.events import FailureClass

Kind = Literal["answer", "cut", "silent", "unreachable", "malformed", "no-credentials", "expired", "settings"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One failed try, in plain data."""

    kind: Kind
    """``answer``: the API said so, by status, or by an error event in its stream."""
    status: int = 0
    type: str = ""
    """The API's own word for it, such as ``overloaded_error`` or ``ThrottlingException``."""
    message: str = ""
    retry_after_s: float | None = None
    profile: str = ""
    """The AWS profile that was used, for the advice."""


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """Whose matter a fault is."""

    failure: FailureClass
    reason: str
    hint: str = ""
    is_passing: bool = False
    """Whether the same question may get an answer soon."""
    holds_all: bool = False
    """Whether nobody should ask this model for a while."""
    retry_after_s: float | None = None


class _Row(msgspec.Struct, frozen=True):
    failure: FailureClass
    what: str
    hint: str = ""
    is_passing: bool = False
    holds_all: bool = False


_LIMIT = _Row("capacity", "the model's rate limit is reached", is_passing=True, holds_all=True)
_BUSY = _Row("capacity", "the model is overloaded", is_passing=True, holds_all=True)
_BROKEN = _Row("capacity", "the model's service has a fault", is_passing=True)
_SLOW = _Row("capacity", "the model did not answer in time", is_passing=True)
_KEY = _Row(
    "config",
    "the API does not accept the credentials",
    "Check ANTHROPIC_API_KEY (or the AWS credentials), then resume the run.",
)
_RIGHTS = _Row(
    "config",
    "the credentials may not use this model",
    "Ask for access to the model (Anthropic: for the key's workspace; AWS: for bedrock:InvokeModelWithResponseStream "
    "on this model in this region), then resume the run.",
)
_BILL = _Row(
    "config", "the account cannot pay for the request", "Check billing and credit of the account, then resume."
)
_MODEL = _Row(
    "config",
    "there is no such model",
    "Check the model id (--model, or --docker-bedrock-model and its region), then resume the run.",
)
_EXPIRED = _Row("config", "the AWS credentials have expired", "Renew them, then resume the run.")
_LARGE = _Row("task", "the conversation is too long for the model", "Split the task into smaller ones.")
_REFUSED = _Row("task", "the API refused the request")
_ADDRESS = _Row(
    "config",
    "the address knows no Messages API",
    "Check ANTHROPIC_BASE_URL (or ANTHROPIC_BEDROCK_BASE_URL), then resume the run.",
)

BY_TYPE: Mapping[str, _Row] = {
    "rate_limit_error": _LIMIT,
    "throttlingexception": _LIMIT,
    "toomanyrequestsexception": _LIMIT,
    "servicequotaexceededexception": _LIMIT,
    "overloaded_error": _BUSY,
    "serviceunavailableexception": _BUSY,
    "modelnotreadyexception": _BUSY,
    "api_error": _BROKEN,
    "internalserverexception": _BROKEN,
    "modelstreamerrorexception": _BROKEN,
    "modelerrorexception": _BROKEN,
    "timeout_error": _SLOW,
    "modeltimeoutexception": _SLOW,
    "authentication_error": _KEY,
    "unrecognizedclientexception": _KEY,
    "invalidsignatureexception": _KEY,
    "missingauthenticationtokenexception": _KEY,
    "incompletesignatureexception": _KEY,
    "permission_error": _RIGHTS,
    "accessdeniedexception": _RIGHTS,
    "billing_error": _BILL,
    "not_found_error": _MODEL,
    "resourcenotfoundexception": _MODEL,
    "expiredtokenexception": _EXPIRED,
    "request_too_large": _LARGE,
}
"""By the API's own word, in lower case: it also stands in streams, whose status is 200."""
BY_STATUS: Mapping[int, _Row] = {
    401: _KEY,
    402: _BILL,
    403: _RIGHTS,
    404: _MODEL,
    405: _ADDRESS,
    408: _SLOW,
    409: _BROKEN,
    413: _LARGE,
    424: _BROKEN,
    429: _LIMIT,
    503: _BUSY,
    504: _SLOW,
    529: _BUSY,
}
BY_WORDS: tuple[tuple[str, _Row], ...] = (
    ("security token included in the request is expired", _EXPIRED),
    ("token has expired", _EXPIRED),
    ("security token included in the request is invalid", _KEY),
    ("model identifier is invalid", _MODEL),
    ("on-demand throughput isn", _MODEL),
    ("model not found", _MODEL),
    ("credit balance is too low", _BILL),
    ("prompt is too long", _LARGE),
    ("input is too long", _LARGE),
)
"""For refusals (400, 403) whose status and word do not say what is wrong."""
BY_KIND: Mapping[Kind, _Row] = {
    "cut": _Row("capacity", "the connection was cut within the answer", is_passing=True),
    "silent": _SLOW,
    "malformed": _Row("capacity", "what came was no answer of a model", is_passing=True),
    "unreachable": _Row(
        "infra",
        "the model's address cannot be reached",
        "Check the network, proxies and the base URL.",
        is_passing=True,
    ),
    "no-credentials": _Row(
        "config",
        "there are no credentials for the model",
        "Set ANTHROPIC_API_KEY; for Bedrock, set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use "
        "an instance role.",
    ),
    "expired": _EXPIRED,
    "settings": _Row("config", "the settings of the model cannot be used"),
}


def sort_fault(fault: Fault) -> Sorted:
    """Whose matter this is, in words for the person who started the run."""
    row = _row(fault)
    said = " ".join(fault.message.split())[:MAX_REASON_CHARS]
    status = f" (status {fault.status})" if fault.status >= 400 else ""
    hint = row.hint
    if row is _EXPIRED and fault.profile:
        hint = f"Run `aws sso login --profile {fault.profile}`, then resume the run."
    return Sorted(
        failure=row.failure,
        reason=f"{row.what}{status}{': ' if said else ''}{said}",
        hint=hint or (said if row.failure == "config" else ""),
        is_passing=row.is_passing,
        holds_all=row.holds_all,
        retry_after_s=None if fault.retry_after_s is None else min(max(0.0, fault.retry_after_s), MAX_RETRY_AFTER_S),
    )


def _row(fault: Fault) -> _Row:
    if fault.kind != "answer":
        return BY_KIND[fault.kind]
    if fault.status < 500 and fault.status != 429:
        words = fault.message.lower()
        for part, row in BY_WORDS:
            if part in words:
                return row
    named = BY_TYPE.get(fault.type.lower()) or BY_STATUS.get(fault.status)
    if named is not None:
        return named
    return _BROKEN if fault.status >= 500 else _REFUSED
