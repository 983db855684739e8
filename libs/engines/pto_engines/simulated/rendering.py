"""Turns templates into the text of files.

Imports the standard library and siblings. Invariant: a template with a placeholder that nobody fills is an error, and
the words of a requirement come into code only as a quoted literal.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from pto_engines.simulated.blueprint import Blueprint, File, Names

TEMPLATES = Path(__file__).with_name("templates")
MARK = "SIMULATED: written from a template by the simulated engine of the Parallel Task Orchestrator."
MAX_QUOTED_CHARS = 600
"""How much of a requirement a README repeats; the whole text is in the run's record."""


def render(names: Names, file: File, more: Mapping[str, str] | None = None) -> str:
    """The text of one file. ``more`` are values that are known only when the work is done."""
    values = {"title": names.title, "title_html": escape(names.title), "package": names.package, "mark": MARK}
    template = Template((TEMPLATES / f"{file.template}.tmpl").read_text(encoding="utf-8"))
    text = template.substitute({**values, **dict(file.values), **(more or {})})
    return text.rstrip("\n") + "\n"


def fragment(template: str, values: Mapping[str, str]) -> str:
    """A piece of a file, to be filled into another template."""
    return Template((TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(values).rstrip("\n")


def quote_requirement(requirement: str) -> str:
    """The requirement as a Markdown quotation in which nothing acts as markup."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in requirement).split())
    if len(shown) > MAX_QUOTED_CHARS:
        shown = shown[:MAX_QUOTED_CHARS].rstrip() + " […]"
    text = escape(shown, quote=False)
    for sign in "\\`*_[]|#~":
        text = text.replace(sign, "\\" + sign)
    return "> " + (text or "(no readable text)")


def summary_values(blueprint: Blueprint, requirement: str) -> dict[str, str]:
    """What the README's template asks for, apart from the modules."""
    return {"quoted": quote_requirement(requirement), "try_it": blueprint.try_it}
