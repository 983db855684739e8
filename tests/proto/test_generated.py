"""Generated files are fresh, valid, and agree with the stored samples."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pto_proto.envelope import decode_event, decode_request, encode_event, encode_request, type_name
from pto_proto.events import EVENTS, VERSIONS, WRITERS
from pto_proto.generate import ROOT, stale
from pto_proto.requests import REQUESTS

SAMPLES = sorted((ROOT / "proto/samples").glob("*.json"))


def schema_for(sample: Path) -> Any:
    return json.loads((ROOT / f"proto/schemas/pto.{sample.stem}.json").read_text())


def test_generated_files_are_fresh() -> None:
    assert stale() == []


def test_every_version_ever_shipped_has_a_sample() -> None:
    wanted = {f"{kind.__name__}.v{v}" for kind in EVENTS for v in range(1, VERSIONS[kind] + 1)}
    wanted |= {f"{kind.__name__}.v1" for kind in REQUESTS}
    assert {path.stem for path in SAMPLES} == wanted


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_decodes_matches_its_schema_and_encodes_to_the_same(sample: Path) -> None:
    wire = json.loads(sample.read_text())
    schema = schema_for(sample)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(wire, schema, cls=jsonschema.Draft202012Validator)
    jsonschema.validate(wire, json.loads((ROOT / "proto/schemas/Envelope.json").read_text()))
    compact = json.dumps(wire, ensure_ascii=False, separators=(",", ":")).encode()
    if wire["subject"].startswith("pto.req."):
        request_id, request = decode_request(compact)
        at = 1_795_478_400_000
        assert encode_request(request_id, wire["source"].split("/")[1], at, request) == compact
    else:
        event = decode_event(compact)
        assert encode_event(event) == compact
        assert event.subject == wire["subject"]


def test_a_message_that_does_not_fit_is_refused_by_the_schema() -> None:
    sample = ROOT / "proto/samples/TaskFinished.v1.json"
    wire = json.loads(sample.read_text())
    wire["data"]["entries"][0]["outcome"] = "perhaps"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wire, schema_for(sample), cls=jsonschema.Draft202012Validator)


def test_the_asyncapi_document_names_every_message_and_its_writer() -> None:
    document = yaml.safe_load((ROOT / "proto/asyncapi.yaml").read_text())
    assert document["asyncapi"] == "3.0.0"
    names = {kind.__name__ for kind in (*EVENTS, *REQUESTS)}
    assert set(document["channels"]) == set(document["components"]["messages"]) == names
    actions = [operation["action"] for operation in document["operations"].values()]
    assert actions.count("send") == actions.count("receive") == sum(map(len, WRITERS.values())) + len(REQUESTS)
    for operation in document["operations"].values():
        channel = document["channels"][operation["channel"]["$ref"].removeprefix("#/channels/")]
        assert [message["$ref"].rpartition("/")[2] for message in operation["messages"]] == list(channel["messages"])
    for message in document["components"]["messages"].values():
        assert (ROOT / "proto" / message["payload"]["$ref"]).exists()


def test_the_reference_says_what_fields_mean() -> None:
    page = (ROOT / "docs/reference/events.md").read_text()
    assert "- `request_seq` (int)" in page
    assert "- `slot` (int): Executor slot of the run" in page
    schema = json.loads((ROOT / "proto/schemas/pto.TaskReady.v1.json").read_text())
    assert schema["$defs"]["TaskReady"]["properties"]["slot"]["description"].startswith("Executor slot")
    assert schema["$defs"]["TaskSpec"]["properties"]["outputs"]["description"].startswith("Globs in the workspace")


def test_type_names_carry_a_version() -> None:
    assert all(type_name(kind) == f"pto.{kind.__name__}.v{VERSIONS[kind]}" for kind in EVENTS)
