"""The reference page is made of the settings that there are."""

from pathlib import Path

from pto_runtime.settings_page import settings_page
from pto_runtime.variables import SETTINGS

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/settings.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == settings_page(), "make settings writes it anew"


def test_the_page_names_every_variable_with_its_default_and_no_secret() -> None:
    table = settings_page().partition("Read where")[0]
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    assert set(rows) == {setting.name for setting in SETTINGS.values()}
    for setting in SETTINGS.values():
        assert setting.is_secret or setting.default in rows[setting.name]
