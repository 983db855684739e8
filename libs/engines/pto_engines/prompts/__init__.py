"""The texts that models are asked with, as data files, and the digest that names them.

Imports the standard library. Invariant: what comes from people or models reaches a text only as the value of a
variable.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from string import Template

PLANNER = ("planner.md", "plan_request.md", "plan_repair.md", "plan_schema.json")
EXECUTOR = ("executor.md", "task.md", "feedback.md")
CODER = ("coder.md", "task.md", "feedback.md")
"""For an agent that brings its own tools."""


@cache
def text_of(name: str) -> str:
    """A file of this folder as it is."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def fill(name: str, **values: str) -> str:
    """A file with its variables; a section (``## ``) whose variables are all empty is left out."""
    first, *sections = text_of(name).split("\n## ")
    kept = [first, *(section for section in sections if _says_something(section, values))]
    return Template("\n## ".join(kept)).substitute(values).strip() + "\n"


def _says_something(section: str, values: dict[str, str]) -> bool:
    names = Template(section).get_identifiers()
    return not names or any(values[name].strip() for name in names)


@cache
def digest_of_prompts(names: tuple[str, ...]) -> str:
    """SHA-256 over these files: another text gives another digest."""
    return sha256(b"\0".join(name.encode() + b"\0" + text_of(name).encode() for name in names)).hexdigest()
