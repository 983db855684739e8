"""The archetype of applications that keep records: forms, to-do lists, shops, content management, platforms.

Imports siblings only. Invariant: a part needs exactly those parts whose modules its files import, so that everything
else can run at the same time.
"""

from collections.abc import Iterable, Sequence

from pto_engines.simulated.blueprint import Design, File, Names, Part, module_files, setup_files
from pto_engines.simulated.entities import Entity, template_values
from pto_engines.simulated.rendering import fragment

EXTRAS = {
    "pricing": "Prices, discounts and tax",
    "workflow": "Editorial workflow",
    "charts": "Charts",
    "report": "Reports",
    "export": "Export",
    "paging": "Sorting and paging",
    "cache": "Cache",
    "outbox": "Notifications",
    "audit": "Audit trail",
    "sync": "Offline work",
}
"""Modules that stand for themselves, each with what it is called in prose."""


def design_tool(names: Names, entity: Entity) -> Design:
    """Three parts: a record, a command line that keeps it, documentation comes on top."""
    values = template_values(entity)
    files = (
        *module_files(names, "records", ("store",), values),
        *_service_files(names, entity),
        *module_files(names, "records", ("cli",), values),
    )
    goal = f"Keep {entity.plural} in a file and add, list and remove them from a terminal."
    parts = (_model_part(names, entity), Part("command-line", "Command line", goal, files, ("data-model",), 2.0))
    fields = " ".join(f'{name}="Example"' for name, kind in entity.fields.items() if kind == "text")
    try_it = f"```sh\nPYTHONPATH=src python3 -m {names.package}.cli add {fields}\n"
    return Design(parts, f"{try_it}PYTHONPATH=src python3 -m {names.package}.cli list\n```")


def design_form(names: Names, entity: Entity) -> Design:
    """A page with a form and the server that takes what was sent."""
    values = template_values(entity)
    files = (
        *module_files(names, "records", ("store",), values),
        *_service_files(names, entity),
        *module_files(names, "records", ("api",), values),
        *_app_files(names, (entity,), with_auth=False),
    )
    goal = f"Take {entity.plural} over HTTP, refuse invalid ones with reasons, keep the others, and serve the page."
    parts = (
        _model_part(names, entity),
        _frontend_part(names, entity, "data-model"),
        Part("backend", "Backend", goal, files, ("data-model", "frontend"), 2.0),
    )
    return Design(parts, _how_to_serve(names))


def design_app(names: Names, entity: Entity, extras: Sequence[str], *, with_page: bool, with_auth: bool) -> Design:
    """One kind of record behind an HTTP API, with a page, accounts and some extras."""
    values = template_values(entity)
    store = (*module_files(names, "records", ("store",), values), *_service_files(names, entity))
    api = module_files(names, "records", ("api",), values)
    parts = [
        _model_part(names, entity),
        Part("backend", "Storage and rules", f"Keep {entity.plural} safely in a file.", store, ("data-model",), 2.0),
        Part("rest-api", "HTTP API", f"Offer the {entity.plural} as a REST API.", api, ("backend",), 2.0),
    ]
    if with_page:
        parts.append(_frontend_part(names, entity, "data-model"))
    if with_auth:
        parts.append(_auth_part(names, "data-model"))
    parts += _extra_parts(names, values, extras, "data-model")
    parts.append(_app_part(names, (entity,), with_page=with_page, with_auth=with_auth))
    return Design(tuple(parts), _how_to_serve(names))


def design_system(
    names: Names, entities: Sequence[Entity], extras: Sequence[str], *, with_page: bool, with_auth: bool
) -> Design:
    """Several kinds of records, each with its own model and service, behind one API."""
    first = entities[0]
    values = template_values(first)
    foundation = (*setup_files(names), *module_files(names, "records", ("validation",)))
    store = module_files(names, "records", ("store",), values)
    api = module_files(names, "records", ("api",), values)
    parts = [Part("foundation", "Foundation", "Set up the package, its tests and the checks of input.", foundation)]
    for entity in entities:
        goal = f"Describe what a {entity.name} is and which values are valid."
        parts.append(Part(_model_id(entity), f"Model: {entity.name}", goal, _model_files(names, entity), ("foundation",)))
    parts.append(Part("storage", "Storage", "Keep records safely in a file.", store, (_model_id(first),), 2.0))
    for entity in entities:
        goal = f"Create, find, change and remove {entity.plural}."
        needs = ("storage",) if entity is first else ("storage", _model_id(entity))
        parts.append(Part(_service_id(entity), f"Service: {entity.plural}", goal, _service_files(names, entity), needs))
    parts.append(Part("rest-api", "HTTP API", "Offer all services as one REST API.", api, (_service_id(first),), 2.0))
    if with_page:
        parts.append(_frontend_part(names, first, _model_id(first)))
    if with_auth:
        parts.append(_auth_part(names, "foundation"))
    parts += _extra_parts(names, values, extras, "foundation")
    parts.append(_app_part(names, entities, with_page=with_page, with_auth=with_auth))
    return Design(tuple(parts), _how_to_serve(names))


def _model_id(entity: Entity) -> str:
    return f"model-{entity.name}".replace("_", "-")


def _service_id(entity: Entity) -> str:
    return f"service-{entity.path}"


def _model_part(names: Names, entity: Entity) -> Part:
    files = (
        *setup_files(names),
        *module_files(names, "records", ("validation",)),
        *_model_files(names, entity),
    )
    goal = f"Set up the package and its tests; describe what a {entity.name} is and which values are valid."
    return Part("data-model", "Data model", goal, files)


def _model_files(names: Names, entity: Entity) -> tuple[File, ...]:
    values = template_values(entity)
    return (
        File(f"src/{names.package}/{entity.name}.py", "records/entity.py", values),
        File(f"tests/test_{entity.name}.py", "records/test_entity.py", values),
    )


def _service_files(names: Names, entity: Entity) -> tuple[File, ...]:
    values = template_values(entity)
    method = fragment("records/flag_method.py", values) if entity.flag else ""
    test = fragment("records/flag_test.py", values) if entity.flag else ""
    stem = f"{entity.name}_service"
    return (
        File(f"src/{names.package}/{stem}.py", "records/service.py", {**values, "flag_method": _spaced(method)}),
        File(f"tests/test_{stem}.py", "records/test_service.py", {**values, "flag_test": _spaced(test)}),
    )


def _spaced(text: str) -> str:
    return f"\n{text}" if text else ""


def _frontend_part(names: Names, entity: Entity, needs: str) -> Part:
    values = template_values(entity)
    static = f"src/{names.package}/static"
    files = (
        *(File(f"{static}/{name}", f"records/{name}", values) for name in ("index.html", "style.css", "app.js")),
        File("tests/test_page.py", "records/test_page.py", values),
    )
    goal = f"Make a page that lists, adds, changes and removes {entity.plural}, and works without a server too."
    return Part("frontend", "Frontend page", goal, files, (needs,), 2.0)


def _auth_part(names: Names, needs: str) -> Part:
    goal = "Keep accounts with salted password hashes and issue signed tokens that end."
    return Part("authentication", "Authentication", goal, module_files(names, "records", ("auth",)), (needs,), 2.0)


def _extra_parts(names: Names, values: dict[str, str], extras: Iterable[str], needs: str) -> list[Part]:
    return [
        Part(name, EXTRAS[name], f"{EXTRAS[name]}: one module and its tests.", files, (needs,))
        for name in extras
        for files in [module_files(names, "records", (name,), values)]
    ]


def _app_part(names: Names, entities: Sequence[Entity], *, with_page: bool, with_auth: bool) -> Part:
    single = len(entities) == 1
    needs = ["rest-api", *(() if single else [_service_id(entity) for entity in entities[1:]])]
    needs += ["frontend"] if with_page else []
    needs += ["authentication"] if with_auth else []
    goal = "Put the parts together so that one command serves them; test the whole over HTTP."
    return Part("application", "Application", goal, _app_files(names, entities, with_auth=with_auth), tuple(needs), 3.0)


def _app_files(names: Names, entities: Sequence[Entity], *, with_auth: bool) -> tuple[File, ...]:
    stem = "app_auth" if with_auth else "app"
    imports = sorted(
        line
        for entity in entities
        for line in (
            f"from {names.package}.{entity.name} import make_{entity.name}",
            f"from {names.package}.{entity.name}_service import {entity.class_name}Service",
        )
    )
    imports.append(f"from {names.package}.store import Store\n")
    entries = (
        f'            "{entity.path}": {entity.class_name}Service('
        f'Store(make_{entity.name}, folder / "{entity.plural}.json")),'
        for entity in entities
    )
    wiring = {"wiring_imports": "\n".join(imports), "wiring_entries": "\n".join(entries)}
    return (
        File(f"src/{names.package}/app.py", f"records/{stem}.py", wiring),
        File(f"src/{names.package}/__main__.py", "records/__main__.py"),
        File("tests/test_app.py", f"records/test_{stem}.py", template_values(entities[0])),
    )


def _how_to_serve(names: Names) -> str:
    return f"```sh\nPYTHONPATH=src python3 -m {names.package}      # serves on 127.0.0.1:8000\n```"
