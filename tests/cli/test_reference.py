"""The reference pages name what there is."""

from pathlib import Path

from pto_cli.flags import FLAGS
from pto_cli.main import COMMANDS
from pto_proto.plans import Plan, Resources, SlurmOptions, TaskSpec

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_every_flag_is_described_with_its_default() -> None:
    page = (REFERENCE / "cli.md").read_text().partition("## Flags of")[2]
    for flag in FLAGS:
        name = f"{flag.name} {flag.value}".strip()
        row = next((line for line in page.splitlines() if f"`{name}`" in line and line.startswith("|")), "")
        assert row.endswith(f"| {flag.help} |"), f"{name} is not described as it is: {row}"
        assert not flag.default or f"`{flag.default}`" in row


def test_every_command_is_described() -> None:
    page = (REFERENCE / "cli.md").read_text()
    assert all(f"`{name}" in page for name in COMMANDS)


def test_every_field_of_a_plan_is_described() -> None:
    page = (REFERENCE / "plan.md").read_text()
    fields = {name for struct in (Plan, TaskSpec, Resources, SlurmOptions) for name in struct.__struct_fields__}
    assert not [name for name in fields if f"`{name}`" not in page]
