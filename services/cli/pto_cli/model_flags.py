"""The flags that say who asks which model, where and with whose credentials: read and checked together.

Imports flags only. Invariants: a credential that was typed goes into this process's environment and nowhere else;
nothing that is said repeats one.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from pto_cli.flags import FLAGS

_BY_FIELD = {flag.field: flag for flag in FLAGS}
_KEYS = {
    "docker_aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "docker_aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "docker_aws_session_token": "AWS_SESSION_TOKEN",
}
_OTHERS = ("AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")
"""What belongs to other credentials than those that were typed."""
_REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-\d{1,2}", re.ASCII)
_PROVIDER = [flag for flag in FLAGS if flag.needs == "provider"]
SERVICES = "pto-planner and pto-dispatcher-local"


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Who plans and does agents' work."""

    engine: str = "simulated"
    provider: str = "anthropic"
    model: str = ""
    """Empty: the environment's, or the provider's default."""
    region: str = ""
    """Of Bedrock."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that were typed as flags."""
    notices: tuple[str, ...] = ()

    @property
    def asks_model(self) -> bool:
        """Whether there is anything to check, to pay and to keep secret."""
        return self.engine != "simulated"

    def apply(self, environment: MutableMapping[str, str]) -> None:
        """Tell the services, which share this process's environment."""
        if self.credentials:
            for name in _OTHERS:
                environment.pop(name, None)
            environment.update(self.credentials)
        if self.region:
            environment["AWS_REGION"] = self.region


SIMULATED = ModelChoice()


def read_models(
    values: Mapping[str, Any], environment: Mapping[str, str], *, is_remote: bool
) -> tuple[ModelChoice, list[str]]:
    """The choice, and all that is wrong with it."""
    problems = [*_check_engine(values), *_check_empty(values)]
    problems += _check_remote(values) if is_remote else _check_bedrock(values)
    engine = values["engine"] or ("api" if values["real"] else "simulated")
    uses_bedrock = bool(values["docker_use_bedrock"])
    region = ""
    if uses_bedrock and not is_remote:
        given = (
            values["docker_bedrock_region"] or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        )
        region = given or _BY_FIELD["docker_bedrock_region"].default
    typed = [flag.name for flag in (*_PROVIDER, _BY_FIELD["model"]) if values[flag.field]]
    has_effect = engine != "simulated" or not typed
    choice = ModelChoice(
        engine=engine,
        provider="bedrock" if uses_bedrock else "anthropic",
        model=values["model"] or values["docker_bedrock_model"] or "",
        region=region,
        credentials={name: values[key] for key, name in _KEYS.items() if values[key]},
        notices=() if has_effect else (f"{', '.join(typed)}: the simulated engine asks no model; add --real",),
    )
    return choice, problems


def _check_engine(values: Mapping[str, Any]) -> Iterator[str]:
    if values["real"] and values["engine"] == "simulated":
        yield "--real and --engine simulated: choose one"


def _check_empty(values: Mapping[str, Any]) -> Iterator[str]:
    for flag in _PROVIDER:  # an empty model is said with what else is wrong with models
        if (
            flag.field != "docker_bedrock_model"
            and isinstance(values[flag.field], str)
            and not values[flag.field].strip()
        ):
            yield f"{flag.name}: is empty"
        elif flag.field == "docker_bedrock_region" and (what := bad_region(values[flag.field] or flag.default)):
            yield f"{flag.name}: {what}"


def bad_region(text: str) -> str:
    """What is wrong with the name of an AWS region; empty if nothing is."""
    return "" if _REGION.fullmatch(text) else f"{text[:60]!r} is not the name of a region such as eu-central-1"


def _check_remote(values: Mapping[str, Any]) -> Iterator[str]:
    """The provider and its keys are the services' own."""
    for flag in _PROVIDER:
        if values[flag.field] and flag.is_secret:
            yield f"{flag.name}: credentials never travel; set {_KEYS[flag.field]} in the environment of {SERVICES}"
        elif values[flag.field]:
            yield (
                f"{flag.name}: with --nats-url the services choose the provider; set PTO_MODEL_PROVIDER, AWS_REGION "
                f"and PTO_MODEL in the environment of {SERVICES}"
            )


def _check_bedrock(values: Mapping[str, Any]) -> Iterator[str]:
    model, other = values["model"], values["docker_bedrock_model"]
    if model and other and model != other:
        yield "--model and --docker-bedrock-model: name one model"
    keys = [bool(values["docker_aws_access_key_id"]), bool(values["docker_aws_secret_access_key"])]
    if any(keys) and not all(keys):
        yield "--docker-aws-access-key-id and --docker-aws-secret-access-key: give both, or neither"
    elif values["docker_aws_session_token"] and not any(keys):
        yield "--docker-aws-session-token: needs the two keys that it belongs to"
    if values["docker_use_bedrock"]:
        return
    for flag in _PROVIDER:
        if values[flag.field]:
            yield f"{flag.name}: needs --docker-use-bedrock"
