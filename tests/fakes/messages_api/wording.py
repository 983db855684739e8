"""How both APIs name what is wrong: a type, a status, an exception.

Standard library only. Invariant: each status and each type has a word in both APIs.
"""

TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STATUS_OF_TYPE = {name: status for status, name in TYPE_OF_STATUS.items()}
BEDROCK_NAMES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    402: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    409: "ConflictException",
    413: "ValidationException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
    529: "ServiceUnavailableException",
}


def error_type(status: int) -> str:
    return TYPE_OF_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def bedrock_name(status: int) -> str:
    return BEDROCK_NAMES.get(status, "InternalServerException" if status >= 500 else "ValidationException")


def stream_exception_name(type_: str) -> str:
    """The member of Bedrock's response stream for an error of this type: ``throttlingException``."""
    name = bedrock_name(STATUS_OF_TYPE[type_])
    if name in (
        "AccessDeniedException",
        "UnrecognizedClientException",
        "ResourceNotFoundException",
        "ConflictException",
    ):
        name = "ValidationException"  # a stream that has begun knows fewer names
    return name[0].lower() + name[1:]
