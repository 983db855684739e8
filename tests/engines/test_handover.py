"""What an engine that runs elsewhere gets of this host's credentials."""

import json
from pathlib import Path

import pytest

from pto_engines.handover import Handover
from pto_ports.engine import EngineError
from pto_runtime.settings import read_settings

KEY = "sk-canary-0123456789"


def handover(environment: dict[str, str]) -> Handover:
    return Handover(environment, read_settings(environment, "sample"))


def test_the_key_and_where_to_ask_go_along_and_nothing_else() -> None:
    found = handover(
        {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "HOME": "/x", "SECRET": "y"}
    )
    given = found.resolve("api", "claude-x")
    assert given.variables == {
        "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "PTO_MODEL": "claude-x",
        "PTO_MODEL_PROVIDER": "anthropic",
    }  # fmt: skip
    assert given.secrets == (KEY,)
    assert KEY not in repr(given)
    assert found.resolve("simulated", "").variables == {}


def test_without_credentials_it_is_said_what_to_do() -> None:
    assert "ANTHROPIC_API_KEY" in handover({}).missing("api")
    assert handover({}).missing("simulated") == ""
    with pytest.raises(EngineError) as caught:
        handover({}).resolve("api", "")
    assert caught.value.failure == "config"


def test_a_profile_stays_here_and_its_keys_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        "AccessKeyId": "AKIACANARY",
        "SecretAccessKey": "secret-canary",
        "SessionToken": "token-canary",
        "Version": 1,
    }
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    (tmp_path / "config").write_text(f"[profile canary]\ncredential_process = cat {tmp_path}/keys.json\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    environment = {"AWS_PROFILE": "canary", "AWS_REGION": "eu-central-1", "PTO_MODEL_PROVIDER": "bedrock"}
    given = handover(environment).resolve("api", "")
    assert "AWS_PROFILE" not in given.variables
    assert given.variables["AWS_SECRET_ACCESS_KEY"] == "secret-canary"
    assert given.variables["AWS_REGION"] == "eu-central-1"
    assert set(given.secrets) == {"AKIACANARY", "secret-canary", "token-canary"}
