"""The how-to page names every setting."""

from pathlib import Path

from pto_runtime.variables import SETTINGS

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/separate-services.md"


def test_the_page_names_every_variable_with_its_default() -> None:
    text = PAGE.read_text()
    for setting in SETTINGS.values():
        row = next(line for line in text.splitlines() if line.startswith("|") and f"`{setting.name}`" in line)
        assert not setting.default or setting.default in row, setting.name
