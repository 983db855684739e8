"""Generates JSON Schemas, the AsyncAPI document and the reference page of events from the structs.

python -m pto_proto.generate [--check]

Imports msgspec, PyYAML and siblings. Invariant: the committed files are exactly what this makes; ``--check`` and a test
say when they are not.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pto_proto.envelope import MAX_ENTRIES, type_name
from pto_proto.events import WRITERS, Entry
from pto_proto.manifests import Manifest, ManifestFile, Tree, TreeFile
from pto_proto.notes import field_notes
from pto_proto.plans import DockerOptions, InputFile, Plan, Problem, Resources, SlurmOptions, TaskSpec
from pto_proto.requests import REQUESTS, Request
from pto_proto.results import CheckResult, Conflict, Usage
from pto_proto.reuse import Reusable
from pto_proto.subjects import kind_of

ROOT = Path(__file__).resolve().parents[2]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
BLOBS: dict[str, Any] = {
    "Plan": Plan,
    "Manifest": Manifest,
    "Tree": Tree,
    "InputFiles": list[InputFile],
    "Reusables": list[Reusable],
}
"""Name -> type of what blobs hold."""
VALUES: tuple[type[msgspec.Struct], ...] = (
    Plan, TaskSpec, Resources, SlurmOptions, DockerOptions, Problem, InputFile, Manifest, ManifestFile, Tree, TreeFile,
    Usage, CheckResult, Conflict, Reusable,
)  # fmt: skip
"""What stands inside events, requests and blobs, for the reference page."""
ENVELOPE: dict[str, Any] = {
    "specversion": {"const": "1.0"},
    "id": {"type": "string", "minLength": 1, "description": "The same on every retry of the same bytes."},
    "type": {"type": "string", "pattern": r"^pto\.[A-Za-z]+\.v[0-9]+$"},
    "source": {"type": "string", "minLength": 1, "description": "Who wrote it."},
    "subject": {"type": "string", "description": "The NATS subject it is published on."},
    "time": {"type": "string", "format": "date-time", "description": "Of an event: that of its last entry."},
    "datacontenttype": {"const": "application/json"},
    "data": {"type": "object"},
}
"""Properties of every message; each message's own schema narrows ``type`` and ``data``."""
REQUIRED = ["specversion", "id", "type", "source", "subject", "time", "data"]


def envelope_schema(kind: type[Entry] | type[Request]) -> dict[str, Any]:
    """JSON Schema of a whole message: the CloudEvents envelope with this payload."""
    body, parts = _components(kind)
    data = body
    if issubclass(kind, Entry):
        data = {
            "type": "object",
            "required": ["entries"],
            "properties": {
                "run": {"type": "string"},
                "lane": {"type": "string"},
                "entries": {"type": "array", "items": body, "maxItems": MAX_ENTRIES},
            },
        }
    return {
        "$schema": DIALECT,
        "title": type_name(kind),
        "description": inspect.getdoc(kind),
        "type": "object",
        "required": REQUIRED,
        "properties": {**ENVELOPE, "type": {"const": type_name(kind)}, "data": data},
        "$defs": parts,
    }


def any_message_schema() -> dict[str, Any]:
    """JSON Schema of what all messages have in common."""
    about = "The CloudEvents 1.0 envelope of every event and request."
    return {
        "$schema": DIALECT,
        "title": "Envelope",
        "description": about,
        "type": "object",
        "required": REQUIRED,
        "properties": ENVELOPE,
    }


def blob_schema(name: str) -> dict[str, Any]:
    """JSON Schema of what a blob of this kind holds."""
    body, parts = _components(BLOBS[name])
    return {"$schema": DIALECT, "title": name, **body, "$defs": parts}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document: one channel per kind, and per kind who sends and who receives it."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for role, kind in _with_roles():
        name = kind.__name__
        names = ("requester",) if role == "requester" else ("lane", "run")
        channels[name] = {
            "address": _address(role, kind),
            "parameters": {parameter: {"$ref": f"#/components/parameters/{parameter}"} for parameter in names},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        messages[name] = {
            "name": type_name(kind),
            "title": name,
            "summary": (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " "),
            "contentType": "application/cloudevents+json",
            "payload": {"$ref": f"schemas/{type_name(kind)}.json"},
        }
        reader = "scheduler" if role == "requester" else "reader"
        operations[f"{role}-sends-{kind_of(kind)}"] = _operation("send", f"{role} writes {name}", role, name)
        operations[f"{reader}-receives-{kind_of(kind)}"] = _operation("receive", f"{reader} reads {name}", reader, name)
    parameters = {
        "lane": {"description": "A backend and its place, such as local or slurm-hpc1; _ for the scheduler's own."},
        "run": {"description": "The run's id; _ for what concerns no run."},
        "requester": {"description": "The requester's account."},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parallel Task Orchestrator",
            "version": "1",
            "description": "Events of the log (stream PTO, mirrored in PTO_VIEW) and requests (stream PTO_REQ).",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "parameters": parameters},
    }


def events_page() -> str:
    """The reference page of all events and requests, in Markdown."""
    lines = [
        "# Events and requests",
        "",
        "Generated from `proto/pto_proto` by `make proto`. Every message is a CloudEvents 1.0 envelope in JSON; the",
        "`data` of an event is `{run, lane, entries}`, and each entry has `at` (Unix ms) and `cause` (log sequence).",
        "Fields with their default value are left out.",
    ]
    lines += ["", "| Type | Written by | Subject |", "|---|---|---|"]
    for role, kind in _with_roles():
        name = kind.__name__
        lines.append(f"| [{name}](#{name.lower()}) | {role} | `{_address(role, kind)}` |")
    role_before = ""
    for role, kind in _with_roles():
        if role != role_before:
            lines += ["", f"## Written by: {role}"]
            role_before = role
        lines += ["", f"### {kind.__name__}", "", f"`{type_name(kind)}` on `{_address(role, kind)}`", ""]
        lines += _struct_lines(kind)
    lines += ["", "## Values"]
    for value in VALUES:
        lines += ["", f"### {value.__name__}", "", *_struct_lines(value)]
    return "\n".join([*lines, ""])


def outputs() -> dict[Path, str]:
    """Path relative to the repository -> text, of every generated file."""
    files = {Path("proto/asyncapi.yaml"): yaml.safe_dump(asyncapi(), sort_keys=False, width=120)}
    for _, kind in _with_roles():
        files[Path(f"proto/schemas/{type_name(kind)}.json")] = _json(envelope_schema(kind))
    files[Path("proto/schemas/Envelope.json")] = _json(any_message_schema())
    for name in BLOBS:
        files[Path(f"proto/schemas/{name}.json")] = _json(blob_schema(name))
    files[Path("docs/reference/events.md")] = events_page()
    return files


def stale(root: Path = ROOT) -> list[str]:
    """Generated files that differ from what they should be, or should not be there."""
    wanted = outputs()
    found = {path.relative_to(root) for path in (root / "proto/schemas").glob("*.json")}
    differing = [
        path for path, text in wanted.items() if not (root / path).exists() or (root / path).read_text() != text
    ]
    return sorted(str(path) for path in {*differing, *(found - set(wanted))})


def write(root: Path = ROOT) -> None:
    """Make the generated files what they should be."""
    for name in stale(root):
        (root / name).unlink(missing_ok=True)
    for path, text in outputs().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _with_roles() -> Iterator[tuple[str, Any]]:
    for role, kinds in WRITERS.items():
        yield from ((role, kind) for kind in kinds)
    yield from (("requester", request) for request in REQUESTS)


def _address(role: str, kind: type[Entry] | type[Request]) -> str:
    return f"pto.req.{kind_of(kind)}.{{requester}}" if role == "requester" else f"pto.{kind_of(kind)}.{{lane}}.{{run}}"


def _operation(action: str, title: str, role: str, name: str) -> dict[str, Any]:
    return {
        "action": action,
        "title": title,
        "tags": [{"name": role}],
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _components(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(schema of the type, schemas of all structs in it), with what the source says about their fields."""
    (body,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for name, schema in parts.items():
        schema["description"] = inspect.getdoc(
            _STRUCTS[name]
        )  # the same text in every Python: 3.13 unindents, 3.11 not
        notes = field_notes(_STRUCTS[name])
        for field, property_schema in schema["properties"].items():
            if field in notes:
                property_schema["description"] = notes[field].replace("\n", " ")
    return body, parts


_STRUCTS: dict[str, type] = {kind.__name__: kind for kind in (*VALUES, *(kind for _, kind in _with_roles()))}


def _struct_lines(kind: type[msgspec.Struct]) -> Iterator[str]:
    yield inspect.getdoc(kind) or ""
    yield ""
    notes = field_notes(kind)
    for field in msgspec.structs.fields(kind):
        if field.name not in ("at", "cause"):
            need = ", required" if field.required else ""
            note = f": {notes[field.name]}".replace("\n", " ") if field.name in notes else ""
            yield f"- `{field.name}` ({_type_text(field.type)}{need}){note}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _type_text(kind: Any) -> str:
    text = inspect.formatannotation(kind)
    return re.sub(r"\b(?:pto_proto\.)?(?:ids|plans|events|requests|manifests|typing)\.", "", text).replace(
        " | ", " or "
    )


def main() -> None:
    """Entry point of ``python -m pto_proto.generate``."""
    parser = argparse.ArgumentParser(description="Generate schemas, AsyncAPI and the reference of events.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is stale")
    if not parser.parse_args().check:
        write()
    elif names := stale():
        sys.stderr.write(f"stale, run `make proto`: {', '.join(names)}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
