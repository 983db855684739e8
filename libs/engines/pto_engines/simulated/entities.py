"""The things that record-keeping projects are about, and the template values for each.

Imports the standard library only. Invariant: the first field of an entity is a required text; names are identifiers that
no other module of a records project has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from json import dumps

READERS = {
    "text": 'form.text("{name}")',
    "note": 'form.text("{name}", required=False)',
    "email": 'form.email("{name}")',
    "number": 'form.number("{name}")',
    "flag": 'form.flag("{name}")',
}
TYPES = {"text": "str", "note": "str", "email": "str", "number": "float", "flag": "bool"}
SAMPLES = {"text": "Example", "note": "Some words", "email": "ada@example.org", "number": 2.5, "flag": False}
BAD = {"text": " ", "email": "nowhere", "number": -1, "flag": "perhaps"}
INPUTS = {
    "text": '<label>{label}<input name="{name}"></label>',
    "note": '<label>{label}<textarea name="{name}" rows="3"></textarea></label>',
    "email": '<label>{label}<input name="{name}" type="email"></label>',
    "number": '<label>{label}<input name="{name}" type="number" min="0" step="any"></label>',
    "flag": '<label class="flag">{label}<input name="{name}" type="checkbox"></label>',
}


@dataclass(frozen=True)
class Entity:
    """A kind of record: its name in Python, in prose, and its fields as name -> kind."""

    name: str
    plural: str
    fields: Mapping[str, str]

    @property
    def class_name(self) -> str:
        """``order_line`` -> ``OrderLine``."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def path(self) -> str:
        """How addresses name the collection."""
        return self.plural.replace("_", "-")

    @property
    def flag(self) -> str:
        """The first yes-or-no field, or nothing."""
        return next((name for name, kind in self.fields.items() if kind == "flag"), "")


ENTITIES = {
    entity.name: entity
    for entity in (
        Entity("task", "tasks", {"title": "text", "notes": "note", "done": "flag"}),
        Entity("message", "messages", {"name": "text", "email": "email", "subject": "text", "body": "text"}),
        Entity("post", "posts", {"title": "text", "author": "text", "body": "note", "published": "flag"}),
        Entity("comment", "comments", {"text": "text", "author": "text", "approved": "flag"}),
        Entity("page", "pages", {"title": "text", "slug": "text", "body": "note", "published": "flag"}),
        Entity("product", "products", {"name": "text", "description": "note", "price": "number", "sold_out": "flag"}),
        Entity("customer", "customers", {"name": "text", "email": "email", "address": "note"}),
        Entity("order", "orders", {"reference": "text", "total": "number", "paid": "flag"}),
        Entity("user", "users", {"name": "text", "email": "email", "active": "flag"}),
        Entity("payment", "payments", {"reference": "text", "amount": "number", "settled": "flag"}),
        Entity("shipment", "shipments", {"reference": "text", "address": "text", "delivered": "flag"}),
        Entity("metric", "metrics", {"name": "text", "value": "number", "unit": "note"}),
        Entity("source", "sources", {"name": "text", "address": "text", "enabled": "flag"}),
        Entity("alert", "alerts", {"name": "text", "threshold": "number", "muted": "flag"}),
        Entity("note", "notes", {"title": "text", "text": "note", "pinned": "flag"}),
        Entity("event", "events", {"title": "text", "place": "note", "seats": "number", "cancelled": "flag"}),
        Entity("booking", "bookings", {"name": "text", "email": "email", "seats": "number", "confirmed": "flag"}),
        Entity("contact", "contacts", {"name": "text", "email": "email", "notes": "note"}),
        Entity("recipe", "recipes", {"title": "text", "steps": "note", "servings": "number"}),
        Entity("expense", "expenses", {"purpose": "text", "amount": "number", "paid": "flag"}),
        Entity("item", "items", {"name": "text", "description": "note", "done": "flag"}),
    )
}


def template_values(entity: Entity) -> dict[str, str]:
    """Everything that the templates of one entity ask for."""
    main = next(iter(entity.fields))
    sample = {name: SAMPLES[kind] for name, kind in entity.fields.items()}
    bad = {name: BAD[kind] for name, kind in entity.fields.items() if kind in BAD}
    typed = (f"{name}={sample[name]}" for name, kind in entity.fields.items() if kind != "flag")
    return {
        "entity": entity.name,
        "Entity": entity.class_name,
        "entities": entity.plural,
        "entities_label": entity.plural.replace("_", " "),
        "label": entity.name.replace("_", " "),
        "path": entity.path,
        "main": main,
        "flag": entity.flag,
        "sample": python_literal(sample),
        "sample_words": python_literal(list(typed)),
        "bad_sample": python_literal(bad),
        "bad_fields": python_literal(sorted(bad)).replace("[", "{").replace("]", "}"),
        "declarations": "\n".join(f"    {name}: {TYPES[kind]}" for name, kind in entity.fields.items()),
        "readings": "\n".join(
            f"        {name}={READERS[kind].format(name=name)}," for name, kind in entity.fields.items()
        ),
        "inputs": "\n".join("      " + _input(name, kind) for name, kind in entity.fields.items()),
        "required_json": dumps([name for name, kind in entity.fields.items() if kind in ("text", "email")]),
    }


def python_literal(value: object) -> str:
    """Plain data as Python source, with the quotes that formatters write."""
    return repr(value).replace("'", '"')


def _input(name: str, kind: str) -> str:
    return INPUTS[kind].format(name=name, label=escape(name.replace("_", " ").capitalize()))
