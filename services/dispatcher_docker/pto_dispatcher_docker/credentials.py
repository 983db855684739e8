"""What an engine in a container needs to ask its model: resolved on this host, whatever way AWS or Anthropic know.

Imports engines and runtime. Invariants: the values go to ``PrivateFiles`` and to redaction only; a profile, a session
of single sign-on or a role stays on this host, and only the keys that it gives for now leave it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pto_engines.models.credentials import NoCredentials, check_credentials, resolve_keys
from pto_engines.models.fault import Fault, sort_fault
from pto_engines.models.settings import SECRETS, ModelSettings, Provider, settings_from
from pto_engines.offer import SIMULATED
from pto_harness.failure import Failed
from pto_runtime.settings import Settings

FILE = "credentials.json"
_OTHERS = (
    "ANTHROPIC_MODEL",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
)
"""Variables that say where and how a model is asked."""


class Variables(NamedTuple):
    """For one engine in one container."""

    variables: dict[str, str]
    secrets: tuple[str, ...]
    """The values among them that must never be shown."""

    def __repr__(self) -> str:
        """No value."""
        return f"Variables({sorted(self.variables)})"


class Credentials:
    """Of one dispatcher, by its environment."""

    def __init__(self, environment: Mapping[str, str], settings: Settings) -> None:
        self._environment = dict(environment)
        self._settings = settings

    def missing(self, engine: str) -> str:
        """Why this engine can ask nobody, as far as that can be known without asking; empty: nothing is missing."""
        if engine == SIMULATED:
            return ""
        fault = check_credentials(self._model_settings(""))
        return "" if fault is None else _failed(fault, self._model_settings("")).args[0]

    def resolve(self, engine: str, model: str) -> Variables:
        """The variables of this engine. May ask AWS; blocks. Raises Failed."""
        if engine == SIMULATED:
            return Variables({}, ())
        settings = self._model_settings(model)
        found = {name: self._environment[name] for name in _OTHERS if self._environment.get(name)}
        found["PTO_MODEL_PROVIDER"] = settings.provider
        found["PTO_MODEL"] = settings.model
        try:
            fault = check_credentials(settings)
            if fault is not None:
                raise NoCredentials(fault)
            keys = self._keys(settings)
        except NoCredentials as error:
            raise _failed(error.fault, settings) from error
        secrets = (*keys.values(), *(getattr(settings, name) for name in SECRETS))
        if settings.region:
            found["AWS_REGION"] = settings.region
        return Variables(found | keys, tuple(dict.fromkeys(secret for secret in secrets if secret)))

    def _keys(self, settings: ModelSettings) -> dict[str, str]:
        if settings.provider == "anthropic":
            return {"ANTHROPIC_API_KEY": settings.api_key}
        if settings.api_key:
            return {"AWS_BEARER_TOKEN_BEDROCK": settings.api_key}
        return resolve_keys(settings).variables()

    def _model_settings(self, model: str) -> ModelSettings:
        provider: Provider = "bedrock" if self._settings.provider == "bedrock" else "anthropic"
        return settings_from(self._environment, provider=provider, model=model or self._settings.model)


def _failed(fault: Fault, settings: ModelSettings) -> Failed:
    found = sort_fault(fault)
    return Failed(found.failure, settings.redact(found.reason), settings.redact(found.hint))
