"""Turns templates into files.

Imports the standard library only. Invariant: what comes from the requirement reaches a file only through a
variable, as a safe name or an escaped text; it is never read as a template itself.
"""

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from pto_engines.simulated.blueprint import Blueprint, File
from pto_engines.simulated.entities import wiring
from pto_engines.simulated.names import quoted

MARK = "SIMULATED: written from fixed templates by the orchestrator's simulated engine."


def project_variables(blueprint: Blueprint, requirement: str) -> dict[str, str]:
    """The variables that all files of a project share."""
    reading = blueprint.reading
    things = reading.things[: len(reading.family.entities)]
    subject = reading.package.replace("_", " ")
    heading = subject[:1].upper() + subject[1:]
    return {
        "mark": MARK,
        "title": reading.title,
        "subject": subject,
        "heading": heading,
        "heading_html": escape(heading),
        "package": reading.package,
        "quoted": quoted(requirement),
        "try_it": _shell(Template(reading.family.attempt).substitute(package=reading.package)),
        **wiring(things, reading.package),
    }


def render(file: File, shared: Mapping[str, str]) -> str:
    """The content of one file."""
    variables = {**shared, **dict(file.variables)}
    if "Entity" in variables:
        has_flag = bool(variables["flag"])
        for name in ("flag_method", "flag_test"):
            method = template(f"records/{name}.py").substitute(variables).rstrip("\n")
            variables[name] = f"\n{method}" if has_flag else ""
    text = template(file.template).substitute(variables)
    if file.path.endswith(".py"):
        text = _imports_sorted(text, variables["package"])
    return text.rstrip("\n") + "\n"


@cache
def template(name: str) -> Template:
    """A template file by its name without ``.tmpl``."""
    return Template((files(__package__) / "templates" / f"{name}.tmpl").read_text(encoding="utf-8"))


def _imports_sorted(text: str, package: str) -> str:
    """Names come from the requirement, so only now the order of the package's own imports is known."""
    own = re.compile(rf"(?:^from {package}\..+\n)+", re.MULTILINE)
    return own.sub(lambda block: "".join(sorted(block[0].splitlines(keepends=True), key=str.split)), text)


def _shell(command: str) -> str:
    return f"```sh\n{command}\n```"
