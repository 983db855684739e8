"""The things of a project, such as ``todo``, and the lines of code that their fields become.

Imports the standard library only. Invariant: names come from ``pto_engines.simulated.names``, so every line is valid
Python whatever the requirement says.
"""

import json
from collections.abc import Sequence

from pto_engines.simulated.catalogue import DEFAULT_FIELDS, known_fields
from pto_engines.simulated.names import class_of, plural, safe_noun

TYPES = {"text": "str", "memo": "str", "email": "str", "number": "float", "flag": "bool"}
READINGS = {
    "text": 'form.text("{0}")',
    "memo": 'form.text("{0}", required=False)',
    "email": 'form.email("{0}")',
    "number": 'form.number("{0}")',
    "flag": 'form.flag("{0}")',
}
WRONG = {"text": '""', "email": '"nobody"', "number": "-1", "flag": '"yes"'}
INPUTS = {
    "text": '      <label>{1} <input name="{0}" required></label>',
    "memo": '      <label>{1} <textarea name="{0}" rows="2"></textarea></label>',
    "email": '      <label>{1} <input name="{0}" type="email" required></label>',
    "number": '      <label>{1} <input name="{0}" type="number" min="0" step="any" value="0"></label>',
    "flag": '      <label class="flag"><input name="{0}" type="checkbox"> {1}</label>',
}

Fields = list[tuple[str, str]]


def entity_variables(thing: str) -> dict[str, str]:
    """All template variables of one thing."""
    name = safe_noun(thing)
    fields: Fields = [
        (field, kind)
        for field, _, kind in (pair.partition(":") for pair in known_fields().get(thing, DEFAULT_FIELDS).split())
    ]
    return {**_names(name), **_code(name.replace("_", " "), fields)}


def wiring(things: Sequence[str], package: str) -> dict[str, str]:
    """Imports and entries for the modules that put all things of a project together."""
    all_names = [_names(safe_noun(thing)) for thing in things]
    imports = [f"from {package}.store import Store"]
    imports += [f"from {package}.{names['entity']} import make_{names['entity']}" for names in all_names]
    imports += [f"from {package}.{names['entity']}_service import {names['Entity']}Service" for names in all_names]
    entries = (
        '            "{path}": {Entity}Service(Store(make_{entity}, folder / "{entities}.json")),'.format(**names)
        for names in all_names
    )
    endpoints = [f"from {package}.{names['entity']}_endpoint import {names['Entity']}Endpoint" for names in all_names]
    return {
        "wiring_imports": "\n".join(sorted(imports)) + "\n",
        "wiring_entries": "\n".join(entries),
        "endpoint_imports": "\n".join(sorted(endpoints)),
        "endpoint_entries": "\n".join('    "{path}": {Entity}Endpoint,'.format(**names) for names in all_names),
    }


def _names(name: str) -> dict[str, str]:
    many = plural(name)
    return {
        "entity": name,
        "Entity": class_of(name),
        "entities": many,
        "label": name.replace("_", " "),
        "entities_label": many.replace("_", " "),
        "path": many.replace("_", "-"),
        "slug": name.replace("_", "-"),
    }


def _code(label: str, fields: Fields) -> dict[str, str]:
    sample = {field: _example(kind, field, label) for field, kind in fields}
    wrong = {field: WRONG[kind] for field, kind in fields if kind in WRONG}
    return {
        "main": fields[0][0],
        "flag": next((field for field, kind in fields if kind == "flag"), ""),
        "declarations": "\n".join(f"    {field}: {TYPES[kind]}" for field, kind in fields),
        "readings": "\n".join(f"        {field}={READINGS[kind].format(field)}," for field, kind in fields),
        "sample": "{" + ", ".join(f'"{field}": {value}' for field, value in sample.items()) + "}",
        "sample_words": json.dumps(
            [f"{field}={sample[field].strip(chr(34))}" for field, kind in fields if kind != "flag"]
        ),
        "bad_sample": "{" + ", ".join(f'"{field}": {value}' for field, value in wrong.items()) + "}",
        "bad_fields": "{" + ", ".join(f'"{field}"' for field in wrong) + "}",
        "inputs": "\n".join(INPUTS[kind].format(field, field.capitalize()) for field, kind in fields),
    }


def _example(kind: str, field: str, label: str) -> str:
    examples = {"email": '"ada@example.org"', "number": "2.5", "flag": "False"}
    return examples.get(kind, f'"{field.capitalize()} of a {label}"')
