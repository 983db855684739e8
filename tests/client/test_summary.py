"""The summary as programs read it."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from pto_client.fetch import fetch
from pto_client.summary import Summary, schema_text, summarize
from pto_core.views import RunView
from pto_memory import MemoryBlobStore
from pto_proto.envelope import decode_event
from pto_proto.ids import TaskId
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


@pytest.mark.parametrize(
    ("had", "said"),
    [(("bubblewrap", "none", ""), "none"), (("", "bubblewrap", "landlock"), "landlock"), (("", ""), "none")],
)
async def test_the_weakest_level_that_was_had_is_said(tmp_path: Path, had: tuple[str, ...], said: str) -> None:
    log = await finished_run(MemoryBlobStore(), tmp_path)
    view = RunView()
    for recorded in log.messages:
        view.apply(recorded.seq, decode_event(recorded.data))
    (attempt,) = view.attempts[TaskId("a")]
    view.attempts[TaskId("a")] = [msgspec.structs.replace(attempt, sandbox=level) for level in had]
    assert summarize(view).sandbox == said
