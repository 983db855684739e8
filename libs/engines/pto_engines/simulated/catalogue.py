"""The catalogue: which kinds of projects there are, and of which parts they are made.

Imports the standard library only. Invariant: the TOML files under ``catalogue/`` are data of this package, read once;
what is written there is not checked at run time but by the tests.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

CATALOGUES = ("base", "calculator", "chess", "grid", "records", "services", "data", "ml", "deep")
DEFAULT_FIELDS = "name:text notes:memo"


@dataclass(frozen=True)
class Family:
    """One kind of project."""

    name: str
    words: str
    base: int
    core: tuple[str, ...]
    extra: tuple[str, ...]
    entities: tuple[str, ...]
    nouns: bool
    """Whether things named in the text come before the family's own."""
    attempt: str
    """The shell command of "Try it", as a template."""


@dataclass(frozen=True)
class Kind:
    """One kind of part, still without the names of a project. All texts are templates."""

    key: str
    """Catalogue and name, such as ``records.model``."""
    id: str
    title: str
    does: str
    files: tuple[str, ...]
    """``target < template``, or one name for both."""
    needs: tuple[str, ...]
    fold: tuple[str, ...]
    """Where the part goes if it may not be a task of its own; the first that is there."""
    per_entity: bool
    variants: tuple[dict[str, str], ...]


@cache
def families() -> dict[str, Family]:
    """All kinds of projects, the more specific first."""
    return {name: _family(name, data) for name, data in _load("families").items()}


@cache
def kinds() -> dict[str, Kind]:
    """All kinds of parts by key."""
    return {f"{name}.{key}": _kind(name, key, data) for name in CATALOGUES for key, data in _load(name).items()}


@cache
def known_fields() -> dict[str, str]:
    """Field descriptions of the things that the catalogue knows."""
    fields: dict[str, str] = _load("entities")["fields"]
    return fields


def word_list(name: str) -> frozenset[str]:
    """One of the word lists."""
    text: str = _load("words")[name]["words"]
    return frozenset(text.split())


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "catalogue" / f"{name}.toml").read_text(encoding="utf-8"))


def _family(name: str, data: dict[str, Any]) -> Family:
    if data.get("serve"):
        attempt = "PYTHONPATH=src python3 -m $package --port 8000"
    elif "module" in data:
        attempt = f"PYTHONPATH=src python3 -m $package.{data['module']}"
    elif "try" in data:
        attempt = f'PYTHONPATH=src python3 -c "{data["try"]}"'
    else:
        attempt = 'PYTHONPATH=src python3 -c "import $package; print($package.__doc__)"'
    return Family(
        name=name,
        words=data["words"],
        base=data["base"],
        core=tuple(data["core"]),
        extra=tuple(data.get("extra", ())),
        entities=tuple(data.get("entities", ())),
        nouns=data.get("nouns", False),
        attempt=attempt,
    )


def _kind(catalogue: str, key: str, data: dict[str, Any]) -> Kind:
    def full(selector: str) -> str:
        return selector if "." in selector or selector.startswith("*") else f"{catalogue}.{selector}"

    return Kind(
        key=f"{catalogue}.{key}",
        id=data.get("id", key),
        title=data["title"],
        does=data["does"],
        files=tuple(data["files"]),
        needs=tuple(map(full, data.get("needs", ()))),
        fold=tuple(map(full, data.get("fold", ()))),
        per_entity=data.get("each") == "entity",
        variants=tuple(data.get("vary", ())) or _grid(data.get("grid", {})),
    )


def _grid(choices: dict[str, list[str]]) -> tuple[dict[str, str], ...]:
    """All combinations as numbered variants."""
    return tuple(
        {
            "slug": f"{number:02}",
            "module": f"trial_{number:02}",
            "number": str(number),
            **dict(zip(choices, values, strict=True)),
        }
        for number, values in enumerate(product(*choices.values()), start=1)
        if choices
    )
