"""What an engine that runs elsewhere needs to ask its model: resolved here, by whatever way AWS or Anthropic know.

Imports ports and siblings. Invariant: a profile, a session of single sign-on or a role stays on this host; only the
keys that it gives for now leave it.
"""

from collections.abc import Mapping

from pto_engines.models.credentials import NoCredentials, check_credentials, resolve_keys
from pto_engines.models.fault import Fault, sort_fault
from pto_engines.models.settings import SECRETS, ModelSettings, Provider, settings_from
from pto_engines.offer import SIMULATED, EngineSettings
from pto_ports.engine import EngineError, EngineVariables

_PASSED_ON = (
    "ANTHROPIC_MODEL", "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY",
)  # fmt: skip
"""Variables that say where and how a model is asked."""


class Handover:
    """Of one process, by its environment."""

    def __init__(self, environment: Mapping[str, str], settings: EngineSettings) -> None:
        self._environment = dict(environment)
        self._settings = settings

    def missing(self, engine: str) -> str:
        """Why this engine can ask nobody, as far as that can be known without asking; empty: nothing is missing."""
        if engine == SIMULATED:
            return ""
        settings = self._model_settings("")
        fault = check_credentials(settings)
        if fault is None:
            return ""
        found = sort_fault(fault)
        return settings.redact(f"{found.reason}. {found.hint}" if found.hint else found.reason)

    def resolve(self, engine: str, model: str) -> EngineVariables:
        """The variables of this engine, which asks this model, or the default one. May ask AWS; blocks.

        Raises EngineError.
        """
        if engine == SIMULATED:
            return EngineVariables({}, ())
        settings = self._model_settings(model)
        found = {name: self._environment[name] for name in _PASSED_ON if self._environment.get(name)}
        found |= {"PTO_MODEL_PROVIDER": settings.provider, "PTO_MODEL": settings.model}
        if settings.region:
            found["AWS_REGION"] = settings.region
        try:
            fault = check_credentials(settings)
            if fault is not None:
                raise NoCredentials(fault)
            keys = _keys(settings)
        except NoCredentials as error:
            raise _failed(error.fault, settings) from error
        secrets = (*keys.values(), *(getattr(settings, name) for name in SECRETS))
        return EngineVariables(found | keys, tuple(dict.fromkeys(secret for secret in secrets if secret)))

    def _model_settings(self, model: str) -> ModelSettings:
        provider: Provider = "bedrock" if self._settings.provider == "bedrock" else "anthropic"
        return settings_from(self._environment, provider=provider, model=model or self._settings.model)


def _keys(settings: ModelSettings) -> dict[str, str]:
    if settings.provider == "anthropic":
        return {"ANTHROPIC_API_KEY": settings.api_key}
    if settings.api_key:
        return {"AWS_BEARER_TOKEN_BEDROCK": settings.api_key}
    return resolve_keys(settings).variables()


def _failed(fault: Fault, settings: ModelSettings) -> EngineError:
    found = sort_fault(fault)
    return EngineError(
        settings.redact(found.reason),
        failure=found.failure,
        hint=settings.redact(found.hint),
        retry_after_s=found.retry_after_s or 0.0,
    )
