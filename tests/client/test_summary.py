"""The summary as programs read it."""

import json
from pathlib import Path

import jsonschema

from pto_client.fetch import fetch
from pto_client.summary import Summary, schema_text
from pto_memory import MemoryBlobStore
from test_fetch import finished_run

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
SCHEMA = REFERENCE / "execution_summary.schema.json"
RENEW = f'python3 -c \'from pto_client.summary import schema_text as s; open("{SCHEMA.name}", "w").write(s())\''


def test_the_schema_in_the_reference_is_fresh() -> None:
    assert SCHEMA.read_text() == schema_text(), f"renew it in {REFERENCE}: {RENEW}"


def test_every_field_is_in_the_reference() -> None:
    page = (REFERENCE / "output.md").read_text()
    missing = [name for name in Summary.__struct_fields__ if f"`{name}`" not in page]
    assert not missing


async def test_a_written_summary_fits_the_schema(tmp_path: Path) -> None:
    log = await finished_run(blobs := MemoryBlobStore(), tmp_path)
    await fetch(log.messages, blobs, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "execution_summary.json").read_text())
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(written)
