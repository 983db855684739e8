"""The command line with an environment of its own: no key, no address, no profile of whoever runs the tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from playing import ACCESS_KEY, KEY, SECRET_KEY, Api, play, scenario


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    foreign = ("PTO_", "NATS_", "ANTHROPIC_", "AWS_", "CLAUDE_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return {
        **kept,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path / "home"),
        "PYTHONUNBUFFERED": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def api(environment: dict[str, str]) -> Iterator[Api]:
    """The fake that plays the todo list, and a key for it in the environment."""
    with play(scenario()) as api:
        environment |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        yield api


@pytest.fixture
def aws(api: Api, environment: dict[str, str]) -> Api:
    """The same behind Bedrock's address."""
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
        environment.pop(name)
    environment |= {"ANTHROPIC_BEDROCK_BASE_URL": api.url}
    environment |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return api
