"""Settings are read whole, refused whole, and keep their secrets."""

from pathlib import Path

import pytest

from pto_runtime.settings import BadSettings, Settings, read_settings
from pto_runtime.variables import SETTINGS


def test_nothing_set_gives_the_defaults_of_the_service() -> None:
    settings = read_settings({}, "scheduler")
    assert (settings.user, settings.instance, settings.blobs) == ("scheduler", "scheduler", "nats")
    assert settings.blob_folder is None
    assert settings.log_format == "json"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read_settings({"PTO_CAPACITY": "", "PTO_LOG_LEVEL": ""}, "planner") == read_settings({}, "planner")


def test_the_account_is_the_instance_unless_it_is_named() -> None:
    assert read_settings({"PTO_INSTANCE": "local-2"}, "dispatcher-local").user == "local-2"
    both = read_settings({"PTO_INSTANCE": "local-2", "PTO_USER": "dispatcher"}, "dispatcher-local")
    assert (both.user, both.instance) == ("dispatcher", "local-2")


def test_everything_wrong_is_said_at_once_and_no_secret_with_it() -> None:
    wrong = {
        "PTO_CAPACITY": "0",
        "PTO_INSTANCE": "Not Good",
        "PTO_BLOBS": "dir:",
        "PTO_LOG_FORMAT": "xml",
        "PTO_CA": "/does/not/exist",
        "PTO_PASSWORD": "hunter2",
    }
    with pytest.raises(BadSettings) as raised:
        read_settings(wrong, "planner")
    lines = str(raised.value).splitlines()
    assert {line.split()[0].rstrip(":") for line in lines} == set(wrong) - {"PTO_PASSWORD"}
    assert "hunter2" not in str(raised.value)


def test_two_ways_to_log_in_are_one_too_many(tmp_path: Path) -> None:
    file = tmp_path / "creds"
    file.write_text("x")
    with pytest.raises(BadSettings, match="use one of them"):
        read_settings({"PTO_CREDS": str(file), "PTO_PASSWORD": "x"}, "planner")


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in repr(read_settings({"PTO_PASSWORD": "hunter2"}, "planner"))


def test_folders_follow_the_run(tmp_path: Path) -> None:
    settings = read_settings({"PTO_BLOBS": f"dir:{tmp_path}", "PTO_WORK_DIR": "/w/{run}/x"}, "planner")
    assert settings.blob_folder == tmp_path
    assert settings.work_folder("run-one") == Path("/w/run-one/x")


def test_the_table_is_the_only_source() -> None:
    assert set(SETTINGS) == set(Settings.__dataclass_fields__) - {"observer"}  # no variable: `serve` makes it
    assert len({setting.name for setting in SETTINGS.values()}) == len(SETTINGS)
