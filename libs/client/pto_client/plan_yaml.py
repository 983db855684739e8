"""A plan as YAML for people to edit: what ``read_plan_file`` makes the same plan of.

Imports PyYAML, msgspec and proto. Invariant: reading the text again gives an equal plan.
"""

from typing import Any

import msgspec
import yaml

from pto_proto.plans import Plan

WIDTH = 110
FOLDED_CHARS = 90
"""Longer text of one line is written over several."""


class _Dumper(yaml.SafeDumper):
    """The safe dumper with text of several lines as it was written, and lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Lists are indented, as people write them."""
        return super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text and text[0].strip() and all(line == line.rstrip() for line in text.split("\n")):
        style = "|"
    elif "\n" not in text and len(text) > FOLDED_CHARS and text == text.strip():
        style = ">"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def plan_yaml(plan: Plan) -> str:
    """The plan's text."""
    data = msgspec.to_builtins(plan)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
