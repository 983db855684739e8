"""Which model is asked, where, and with which credentials.

Imports msgspec and the standard library. Invariant: no representation of the settings holds a secret, and ``redact``
takes them out of any text.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from pto_engines.models.limits import MAX_AT_ONCE, PATIENCE_S

Provider = Literal["anthropic", "bedrock"]
DEFAULT_MODEL = "claude-sonnet-5-5"
BEDROCK_DEFAULT_MODEL = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
"""The documented default of ``--docker-bedrock-model``."""
BEDROCK_DEFAULT_REGION = "eu-central-1"
SECRETS = ("api_key", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
HIDDEN = "***"
MIN_SECRET_CHARS = 8
"""Shorter values would blank out ordinary words."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Everything that is needed to ask one model."""

    provider: Provider = "anthropic"
    model: str = DEFAULT_MODEL
    base_url: str = ""
    """Empty: the provider's own address."""
    api_key: str = ""
    """Anthropic's key, or a bearer token of Bedrock."""
    region: str = ""
    aws_profile: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: str = ""
    aws_session_token: str = ""
    at_once: int = MAX_AT_ONCE
    patience_s: float = PATIENCE_S
    """How long one question waits through capacity errors before it is given up."""

    def __repr__(self) -> str:
        """All but the secrets."""
        shown = {
            name: HIDDEN if value and name in SECRETS else value
            for name, value in msgspec.structs.asdict(self).items()
            if value
        }
        return f"ModelSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    __str__ = __repr__

    def redact(self, text: str) -> str:
        """The text without any of the secrets."""
        for name in SECRETS:
            secret = getattr(self, name)
            if len(secret) >= MIN_SECRET_CHARS:
                text = text.replace(secret, HIDDEN)
        return text


def settings_from(
    environment: Mapping[str, str], *, provider: Provider = "anthropic", model: str = ""
) -> ModelSettings:
    """Settings from the usual variables: ANTHROPIC_* or AWS_*. An empty variable counts as missing.

    Keys win over a profile, as AWS's own tools have it.
    """

    def read(*names: str) -> str:
        return next((environment[name] for name in names if environment.get(name)), "")

    if provider == "anthropic":
        return ModelSettings(
            model=model or read("ANTHROPIC_MODEL") or DEFAULT_MODEL,
            base_url=read("ANTHROPIC_BASE_URL"),
            api_key=read("ANTHROPIC_API_KEY"),
        )
    has_keys = bool(environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_SECRET_ACCESS_KEY"))
    return ModelSettings(
        provider="bedrock",
        model=model or BEDROCK_DEFAULT_MODEL,
        base_url=read("ANTHROPIC_BEDROCK_BASE_URL"),
        api_key=read("AWS_BEARER_TOKEN_BEDROCK"),
        region=read("AWS_REGION", "AWS_DEFAULT_REGION"),
        aws_profile="" if has_keys else read("AWS_PROFILE"),
        aws_access_key_id=read("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=read("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=read("AWS_SESSION_TOKEN") if has_keys else "",
    )
