"""What differs between the two APIs around a message: headers, errors, the framing of a stream.

May import framing and wording. Invariant: rules and faults are played the same in both; only this module and the routes know
which API was asked.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from .framing import AwsEventStream, Framing, ServerSentEvents
from .scenario import Api
from .wording import STATUS_OF_TYPE, bedrock_name, error_type

LIMITS = {"requests": 4_000, "input-tokens": 2_000_000, "output-tokens": 400_000, "tokens": 2_400_000}
WINDOW = timedelta(seconds=60)


@dataclass(eq=False)
class Problem(Exception):
    """An answer other than a message. Not a fault of this program: it is what the caller is to see."""

    status: int
    message: str
    type: str | None = None
    """The API's word for it, when the status alone does not tell."""
    headers: tuple[tuple[str, str], ...] = ()


class Dialect(Protocol):
    api: Api
    framing: Framing

    def headers(self, request_id: str, usage: dict[str, Any] | None = None) -> dict[str, str]:
        """Headers of every answer; ``usage`` when there is a message in it."""

    def error(self, problem: Problem, request_id: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Headers that tell the kind of error, and the body."""

    def missing_key(self) -> Problem: ...

    def wrong_key(self) -> Problem: ...

    def unknown_model(self, model: str) -> Problem: ...

    def last_event(self, event: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        """``message_stop``, with what this API adds to it."""


class Anthropic:
    api: Api = "anthropic"
    framing: Framing = ServerSentEvents()

    def headers(self, request_id: str, usage: dict[str, Any] | None = None) -> dict[str, str]:
        reset = (datetime.now(UTC) + WINDOW).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = {"request-id": request_id, "anthropic-organization-id": "00000000-0000-4000-8000-000000000000"}
        for name, limit in LIMITS.items():
            found[f"anthropic-ratelimit-{name}-limit"] = str(limit)
            found[f"anthropic-ratelimit-{name}-remaining"] = str(limit if usage is None else limit - 1)
            found[f"anthropic-ratelimit-{name}-reset"] = reset
        return found

    def error(self, problem: Problem, request_id: str) -> tuple[dict[str, str], dict[str, Any]]:
        type_ = problem.type or error_type(problem.status)
        headers = {"anthropic-ratelimit-requests-remaining": "0"} if type_ == "rate_limit_error" else {}
        detail = {"type": type_, "message": problem.message}
        return headers, {"type": "error", "error": detail, "request_id": request_id}

    def missing_key(self) -> Problem:
        return Problem(401, "x-api-key header is required")

    def wrong_key(self) -> Problem:
        return Problem(401, "invalid x-api-key")

    def unknown_model(self, model: str) -> Problem:
        return Problem(404, f"model: {model}")

    def last_event(self, event: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        return event


class Bedrock:
    api: Api = "bedrock"
    framing: Framing = AwsEventStream()

    def headers(self, request_id: str, usage: dict[str, Any] | None = None) -> dict[str, str]:
        found = {"x-amzn-requestid": request_id}
        if usage is not None:
            found["x-amzn-bedrock-input-token-count"] = str(usage["input_tokens"])
            found["x-amzn-bedrock-output-token-count"] = str(usage["output_tokens"])
        return found

    def error(self, problem: Problem, request_id: str) -> tuple[dict[str, str], dict[str, Any]]:
        name = bedrock_name(problem.status) if problem.type in (None, *STATUS_OF_TYPE) else problem.type
        return {"x-amzn-errortype": str(name)}, {"message": problem.message}

    def missing_key(self) -> Problem:
        return Problem(403, "Missing Authentication Token", "MissingAuthenticationTokenException")

    def wrong_key(self) -> Problem:
        return Problem(403, "The security token included in the request is invalid.", "UnrecognizedClientException")

    def unknown_model(self, model: str) -> Problem:
        return Problem(400, "The provided model identifier is invalid.")

    def last_event(self, event: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        metrics = {
            "inputTokenCount": usage["input_tokens"],
            "outputTokenCount": usage["output_tokens"],
            "invocationLatency": 1,
            "firstByteLatency": 1,
        }
        return {**event, "amazon-bedrock-invocationMetrics": metrics}
