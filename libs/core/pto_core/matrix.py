"""Matrices: one task with parameters becomes one task per combination of their values.

Imports pto_proto only. Invariant: pure and deterministic; the same tasks give the same ids in the same order for ever,
because finished work is found again by them. ``check_plan`` has looked at the matrices before ``expand`` sees them.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import msgspec

from pto_proto.ids import TaskId
from pto_proto.plans import Resources, SlurmOptions, TaskSpec

REFERENCE = re.compile(r"\$\{matrix\.([^}]*)\}")
"""How a text names a parameter; every other ``${...}`` belongs to the shell."""
PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_NOT_SLUG = re.compile(r"[^A-Za-z0-9_.-]+")
_ID_CHARS = 64
_TAIL_CHARS = 9


class Expansion(NamedTuple):
    """Tasks without matrices, and for each the position of the task it comes from."""

    tasks: tuple[TaskSpec, ...]
    sources: tuple[int, ...]


def count_of(spec: TaskSpec) -> int:
    """How many tasks this one becomes."""
    return prod(len(values) for values in spec.matrix.values()) if spec.matrix else 1


def value_text(value: object) -> str:
    """A parameter's value as it appears in texts: like JSON, without quotes."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def expand(tasks: Sequence[TaskSpec]) -> Expansion:
    """All tasks with their matrices written out. A dependency on a task with a matrix means all its expansions."""
    if not any(spec.matrix for spec in tasks):
        return Expansion(tuple(tasks), tuple(range(len(tasks))))
    ids = _Ids(spec.id for spec in tasks if not spec.matrix)
    variants = [list(_variants(spec, ids)) for spec in tasks]
    groups = {spec.id: tuple(id_ for id_, _ in own) for spec, own in zip(tasks, variants, strict=True) if spec.matrix}
    expanded: list[TaskSpec] = []
    sources: list[int] = []
    for source, (spec, own) in enumerate(zip(tasks, variants, strict=True)):
        shared = None if _names_parameter(spec.depends_on) else _resolve(spec.depends_on, groups)
        for id_, values in own:
            depends_on = shared if shared is not None else _resolve(_fill_all(spec.depends_on, values), groups)
            plain = not spec.matrix
            if plain and depends_on == spec.depends_on:
                expanded.append(spec)
            elif plain:
                expanded.append(msgspec.structs.replace(spec, depends_on=depends_on))
            else:
                expanded.append(_filled(spec, id_, depends_on, values))
            sources.append(source)
    return Expansion(tuple(expanded), tuple(sources))


class _Ids:
    """Hands out ids that are unique in the plan, tasks without a matrix first."""

    def __init__(self, taken: Any) -> None:
        self._taken: set[str] = set(taken)
        self._repeats: dict[str, int] = {}

    def unique(self, wanted: str) -> TaskId:
        slug = _NOT_SLUG.sub("-", wanted)
        if len(slug) > _ID_CHARS:
            digest = hashlib.sha256(wanted.encode(errors="replace")).hexdigest()
            slug = f"{slug[: _ID_CHARS - _TAIL_CHARS]}-{digest[: _TAIL_CHARS - 1]}"
        candidate = slug
        while candidate in self._taken:
            repeat = self._repeats[slug] = self._repeats.get(slug, 1) + 1
            candidate = f"{slug[: _ID_CHARS - _TAIL_CHARS]}-{repeat}"
        self._taken.add(candidate)
        return TaskId(candidate)


def _variants(spec: TaskSpec, ids: _Ids) -> Sequence[tuple[TaskId, Mapping[str, str]]]:
    if not spec.matrix:
        return [(spec.id, {})]
    found = []
    for values in product(*spec.matrix.values()):
        texts = [value_text(value) for value in values]
        found.append((ids.unique("-".join([spec.id, *texts])), dict(zip(spec.matrix, texts, strict=True))))
    return found


def _names_parameter(texts: Sequence[str]) -> bool:
    return any("${matrix." in text for text in texts)


def _resolve(depends_on: Sequence[str], groups: Mapping[TaskId, tuple[TaskId, ...]]) -> tuple[TaskId, ...]:
    if not any(dependency in groups for dependency in depends_on):
        return tuple(TaskId(dependency) for dependency in depends_on)
    named: dict[TaskId, None] = {}
    for dependency in depends_on:
        named.update(dict.fromkeys(groups.get(TaskId(dependency), (TaskId(dependency),))))
    return tuple(named)


def _fill(text: str, values: Mapping[str, str]) -> str:
    if "${matrix." not in text:
        return text
    return REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)


def _fill_all(texts: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_fill(text, values) for text in texts)


def _filled(spec: TaskSpec, id_: TaskId, depends_on: tuple[TaskId, ...], values: Mapping[str, str]) -> TaskSpec:
    def fill(text: str) -> str:
        return _fill(text, values)

    def fill_all(texts: Sequence[str]) -> tuple[str, ...]:
        return _fill_all(texts, values)

    return msgspec.structs.replace(
        spec,
        id=id_,
        depends_on=depends_on,
        matrix={},
        title=fill(spec.title),
        agent=fill(spec.agent),
        command=fill(spec.command) if isinstance(spec.command, str) else fill_all(spec.command),
        inputs=fill_all(spec.inputs),
        outputs=fill_all(spec.outputs),
        writes=fill_all(spec.writes),
        checks=fill_all(spec.checks),
        env=fill_all(spec.env),
        backend=fill(spec.backend),
        resources=_filled_resources(spec.resources, fill),
        slurm=_filled_slurm(spec.slurm, fill),
    )


def _filled_resources(resources: Resources, fill: Callable[[str], str]) -> Resources:
    if not resources.memory and not resources.time:
        return resources
    return msgspec.structs.replace(resources, memory=fill(resources.memory), time=fill(resources.time))


def _filled_slurm(slurm: SlurmOptions, fill: Callable[[str], str]) -> SlurmOptions:
    filled = {name: fill(getattr(slurm, name)) for name in slurm.__struct_fields__}
    return SlurmOptions(**filled) if any(filled.values()) else slurm
