"""The ways to credentials, and what is said when one of them leads nowhere. No request leaves the machine."""

import os
from pathlib import Path

import pytest
from fakes.agents import models_now
from fakes.messages_api import scenario_from, serving_in_thread
from fakes.questions import ACCESS_KEY, BEDROCK_MODEL, HELLO

from pto_engines.models.credentials import NoCredentials, check_credentials, resolve_keys
from pto_engines.models.fault import sort_fault
from pto_engines.models.question import Question
from pto_engines.models.settings import BEDROCK_DEFAULT_MODEL, DEFAULT_MODEL, ModelSettings, settings_from
from pto_ports.engine import EngineError

SECRET = "secret-canary-of-aws"
QUESTION = Question(system="s", messages=[{"role": "user", "content": [{"type": "text", "text": "q"}]}], max_tokens=9)
CONFIG = """
[profile expired]
sso_session = work
sso_account_id = 123456789012
sso_role_name = builder
region = eu-central-1
[sso-session work]
sso_start_url = http://127.0.0.1:9/start
sso_region = eu-central-1
[profile process]
region = eu-central-1
credential_process = {process}
[profile assumed]
role_arn = arn:aws:iam::123456789012:role/builder
source_profile = process
region = eu-central-1
"""
PROCESS = """#!/bin/sh
echo x >> {count}
echo '{{"Version":1,"AccessKeyId":"{key}","SecretAccessKey":"{secret}","SessionToken":"token-canary","Expiration":"{ends}"}}'
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with AWS profiles, and nothing of the environment of whoever runs the tests."""
    for name in os.environ:
        if name.startswith(("ANTHROPIC_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    write_profiles(tmp_path, "2999-01-01T00:00:00Z")
    return tmp_path


def write_profiles(home: Path, ends: str) -> None:
    (home / ".aws").mkdir(exist_ok=True)
    process = home / "process.sh"
    process.write_text(PROCESS.format(key=ACCESS_KEY, secret=SECRET, ends=ends, count=home / "count"))
    process.chmod(0o755)
    (home / ".aws" / "config").write_text(CONFIG.format(process=process))


def bedrock(**more: str) -> ModelSettings:
    return ModelSettings(**{"provider": "bedrock", "region": "eu-central-1", "model": BEDROCK_MODEL, **more})  # type: ignore[arg-type]


KEYS = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ModelSettings(), "ANTHROPIC_API_KEY is not set"),
        (ModelSettings(provider="bedrock"), "--docker-bedrock-region or AWS_REGION"),
        (bedrock(aws_access_key_id=ACCESS_KEY), "AWS_SECRET_ACCESS_KEY is missing"),
        (bedrock(aws_secret_access_key=SECRET), "AWS_ACCESS_KEY_ID is missing"),
        (bedrock(api_key="bearer-token", **KEYS), "use one of them"),
        (bedrock(api_key="bearer-token", aws_profile="x"), "use one of them"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(settings: ModelSettings, said: str) -> None:
    fault = check_credentials(settings)
    assert fault is not None
    assert said in fault.message
    models = models_now()
    with pytest.raises(EngineError) as caught:
        models.model(settings).ask(QUESTION)
    models.close()
    assert caught.value.failure == "config"


def test_keys_of_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_keys(bedrock(**KEYS, aws_session_token="t")).session_token == "t"
    by_process = resolve_keys(bedrock(aws_profile="process"))
    assert (by_process.access_key_id, by_process.session_token) == (ACCESS_KEY, "token-canary")
    assert by_process.ends_at.startswith("2999")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    from_environment = resolve_keys(bedrock())
    assert (from_environment.access_key_id, from_environment.method) == ("AKIAENV", "env")
    for keys in (by_process, from_environment):
        assert SECRET not in repr(keys)


def test_expired_sso_names_the_command_that_renews_it() -> None:
    with pytest.raises(NoCredentials) as caught:
        resolve_keys(bedrock(aws_profile="expired"))
    found = sort_fault(caught.value.fault)
    assert (found.failure, found.hint) == ("config", "Run `aws sso login --profile expired`, then resume the run.")


@pytest.mark.parametrize(
    ("profile", "said"),
    [("expired", "aws sso login --profile expired"), ("nobody", "nobody"), ("", "AWS_PROFILE")],
)
def test_client_says_the_same_as_a_typed_error(profile: str, said: str) -> None:
    models = models_now()
    with serving_in_thread(scenario_from(HELLO)) as api, pytest.raises(EngineError) as caught:
        models.model(bedrock(aws_profile=profile, base_url=api.url)).ask(QUESTION)
    models.close()
    assert caught.value.failure == "config"
    assert said in caught.value.hint
    assert api.requests == []


def test_role_that_cannot_be_assumed_without_a_network_is_a_matter_of_the_infrastructure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(NoCredentials) as caught:
        resolve_keys(bedrock(aws_profile="assumed"))
    assert sort_fault(caught.value.fault).failure == "infra"


def test_keys_that_end_soon_are_renewed_before_the_next_question(home: Path) -> None:
    """Credentials that end within botocore's ten minutes are asked for again, each time; others once."""
    from datetime import UTC, datetime, timedelta

    counts = []
    for minutes in (60, 5):
        (home / "count").write_text("")
        write_profiles(home, (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ"))
        models = models_now()
        with serving_in_thread(scenario_from({**HELLO, "keys": {"aws": ACCESS_KEY}})) as api:
            model = models.model(bedrock(aws_profile="process", base_url=api.url, region=f"eu-central-{minutes}"))
            for _ in range(3):
                assert model.ask(QUESTION).text == "Hello"
        models.close()
        assert [request.keys for request in api.requests] == [("aws",)] * 3
        counts.append((home / "count").read_text().count("x"))
    assert counts[0] == 1
    assert counts[1] > 2


def test_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(
        {"AWS_BEARER_TOKEN_BEDROCK": "bearer-canary", "AWS_REGION": "eu-central-1"}, provider="bedrock"
    )
    models = models_now()
    with serving_in_thread(scenario_from({**HELLO, "keys": {"bearer": "bearer-canary"}})) as api:
        from msgspec.structs import replace

        assert models.model(replace(settings, base_url=api.url)).ask(QUESTION).text == "Hello"
    models.close()
    assert api.requests[0].keys == ("bearer",)


def test_settings_from_the_environment() -> None:
    found = settings_from({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://x", "ANTHROPIC_MODEL": ""})
    assert (found.model, found.base_url, found.api_key) == (DEFAULT_MODEL, "http://x", "k")
    aws = {"AWS_PROFILE": "dev", "AWS_DEFAULT_REGION": "eu-west-1"}
    found = settings_from(aws, provider="bedrock")
    assert (found.model, found.region, found.aws_profile) == (BEDROCK_DEFAULT_MODEL, "eu-west-1", "dev")
    found = settings_from({**aws, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, provider="bedrock")
    assert (found.aws_profile, found.aws_access_key_id) == ("", "a")


def test_settings_show_no_secret() -> None:
    settings = ModelSettings(api_key="sk-canary-1234", **KEYS, aws_session_token="session-canary")
    shown = f"{settings} {settings!r} {[settings]} {settings:}"
    for secret in ("sk-canary-1234", SECRET, "session-canary", ACCESS_KEY):
        assert secret not in shown
        assert secret not in settings.redact(f"what {secret} is")
