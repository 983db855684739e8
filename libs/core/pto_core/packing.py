"""Values of the state as plain data for MessagePack, and back: the format that snapshots are written in.

Imports pto_proto and siblings only. Invariants: ``unpack(pack(value))`` equals ``value`` in value and type, and equal
values give equal data. What a dict is ordered by matters, unless its owner lists it in ``UNORDERED``. A class that is
not known here is refused when it is packed, never guessed at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any

import msgspec

from pto_core import money, nodes, rests, transitions
from pto_core import state as shapes
from pto_proto import events, plans, requests, results, reuse
from pto_proto.ids import Digest, RunId
from pto_proto.requests import RunRequested

Reference = Callable[[Any], object]
"""Packs an object that is stored elsewhere, or unpacks what this made of it."""

UNORDERED = frozenset({"counts", "in_use", "parts"})
"""Fields whose dict is asked by key alone."""
REFERRED = (shapes.Task, shapes.Run)
"""Stored once by their owner; everywhere else only named."""
_SHAPES = frozenset(module.__name__ for module in (shapes, money, nodes, rests))
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_MAX_CODES = 256
_MAX_INT = 2**63
_CLASSES: dict[str, type[Any]] = {
    name: found
    for module in (requests, plans, results, events, reuse, transitions, money, nodes, rests, shapes)
    for name, found in vars(module).items()
    if isinstance(found, type)
}
_json = msgspec.json.Encoder()


def fields_of(kind: type[Any]) -> tuple[str, ...]:
    """The names of what an object of the state holds, sorted; taken from the class, so that none is forgotten."""
    slots: tuple[str, ...] | None = getattr(kind, "__slots__", None)
    if slots is not None:
        return tuple(sorted(slots))
    if kind is shapes.Run:
        request = RunRequested(run=RunId("sample"))
        return tuple(sorted(vars(shapes.Run(request.run, request, seq=0, at=0, content_digest=Digest("")))))
    return tuple(sorted(vars(kind())))


def layout() -> str:
    """The names of all classes and fields that may be stored: two versions that differ here cannot read each other."""
    parts = []
    for name, kind in sorted(_CLASSES.items()):
        if issubclass(kind, msgspec.Struct):
            parts.append(f"{name}({','.join(kind.__struct_fields__)})")
        elif issubclass(kind, Enum):
            parts.append(f"{name}({','.join(str(member.value) for member in kind)})")
        elif kind.__module__ in _SHAPES and not issubclass(kind, tuple):
            parts.append(f"{name}({','.join(fields_of(kind))})")
    return ";".join(parts)


@cache
def _struct_decoder(name: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_CLASSES[name])


@cache
def _array_decoder(name: str) -> msgspec.json.Decoder[Any]:
    kind: Any = _CLASSES[name]
    return msgspec.json.Decoder(list[kind])


# --- single values ---------------------------------------------------------------------------------------------------


def pack(value: Any, refer: Reference) -> Any:
    """``value`` as plain data. Raises TypeError for a class that a state must not hold."""
    kind = type(value)
    if kind in _PLAIN:
        return value if kind is not int or -_MAX_INT <= value < _MAX_INT else ["int", str(value)]
    if issubclass(kind, REFERRED):
        return ["ref", refer(value)]
    if kind is dict:
        return ["dict", _items(value, refer), _items(value.values(), refer)]
    if kind is list or kind is tuple:
        return [kind.__name__, _items(value, refer)]
    if kind is set or kind is frozenset:
        return [kind.__name__, _items(sorted(value), refer)]
    return _pack_object(value, kind, refer)


def _pack_object(value: Any, kind: type, refer: Reference) -> Any:
    name = kind.__name__
    if _CLASSES.get(name) is not kind:
        raise TypeError(f"a state must not hold a {kind.__module__}.{name}: snapshots do not know it")
    if issubclass(kind, Enum):
        return ["enum", name, value.value]
    if issubclass(kind, msgspec.Struct):
        return ["struct", name, _json.encode(value)]
    if issubclass(kind, tuple):
        return ["named", name, _items(value, refer)]
    return ["object", name, pack_fields(value, fields_of(kind), refer)]


def unpack(data: Any, refer: Reference) -> Any:
    """What ``pack`` made ``data`` of. Raises TypeError, ValueError, LookupError or MsgspecError for anything else."""
    if type(data) is not list:
        return data
    return _UNPACK[data[0]](data, refer)


def pack_fields(value: object, names: Iterable[str], refer: Reference) -> list[Any]:
    """The values of these fields, in this order."""
    packed = []
    for name in names:
        field = getattr(value, name)
        if name in UNORDERED:
            field = {key: field[key] for key in sorted(field)}
        packed.append(pack(field, refer))
    return packed


def unpack_fields(value: object, names: Sequence[str], data: Sequence[Any], refer: Reference) -> None:
    """Set these fields to what ``pack_fields`` kept of them."""
    if len(names) != len(data):
        raise ValueError(f"{type(value).__name__}: {len(data)} fields are stored, {len(names)} are wanted")
    for name, field in zip(names, data, strict=True):
        setattr(value, name, unpack(field, refer))


def _items(values: Iterable[Any], refer: Reference) -> Any:
    """Many values at once: the more alike they are, the quicker."""
    return pack_column(list(values), refer)


def _new(kind: type[Any], data: Sequence[Any], refer: Reference) -> object:
    value: object = object.__new__(kind)
    unpack_fields(value, fields_of(kind), data, refer)
    return value


_UNPACK: Mapping[str, Callable[[Any, Reference], Any]] = {
    "int": lambda data, _: int(data[1]),
    "ref": lambda data, refer: refer(data[1]),
    "dict": lambda data, refer: dict(zip(unpack_column(data[1], refer), unpack_column(data[2], refer), strict=True)),
    "list": lambda data, refer: unpack_column(data[1], refer),
    "tuple": lambda data, refer: tuple(unpack_column(data[1], refer)),
    "set": lambda data, refer: set(unpack_column(data[1], refer)),
    "frozenset": lambda data, refer: frozenset(unpack_column(data[1], refer)),
    "enum": lambda data, _: _CLASSES[data[1]](data[2]),
    "struct": lambda data, _: _struct_decoder(data[1]).decode(data[2]),
    "named": lambda data, refer: _CLASSES[data[1]](*unpack_column(data[2], refer)),
    "object": lambda data, refer: _new(_CLASSES[data[1]], data[2], refer),
}


# --- many values of one kind -----------------------------------------------------------------------------------------


def pack_column(values: list[Any], refer: Reference) -> Any:
    """Values of one meaning: as they are, as codes of a short table, as one array of structs, or one by one."""
    kinds = set(map(type, values))
    if not kinds:
        return ["plain", []]
    only: Any = next(iter(kinds)) if len(kinds) == 1 else object
    name: str = only.__name__
    if issubclass(only, msgspec.Struct) and _CLASSES.get(name) is only:
        return ["structs", name, _json.encode(values)]
    # In a mixture, values that are equal across types (True and 1) would share a code.
    is_plain = kinds <= _PLAIN
    is_clear = is_plain and len(kinds & {bool, int, float}) <= 1
    if len(values) > 1 and (is_clear or issubclass(only, Enum)):
        table = _short_table(values)
        if table is not None:
            packed = [pack(value, refer) for value in table]
            if len(table) == 1:
                return ["same", packed[0], len(values)]
            return ["codes", packed, bytes(map(table.__getitem__, values))]
    if is_plain and (int not in kinds or all(-_MAX_INT <= v < _MAX_INT for v in values if type(v) is int)):
        return ["plain", values]
    return ["each", [pack(value, refer) for value in values]]


def unpack_column(data: Any, refer: Reference) -> list[Any]:
    """The values of a column, as a new list."""
    form, body = data[0], data[1]
    if form == "plain":
        return list(body)
    if form == "structs":
        found: list[Any] = _array_decoder(body).decode(data[2])
        return found
    if form == "same":
        return [unpack(body, refer)] * int(data[2])
    if form == "codes":
        return list(map([unpack(value, refer) for value in body].__getitem__, data[2]))
    if form == "each":
        return [unpack(value, refer) for value in body]
    raise ValueError(f"unknown form of a column: {form!r}")


def pack_objects(objects: Sequence[Any], names: Sequence[str], refer: Reference) -> list[Any]:
    """The same fields of many objects, field by field."""
    return [pack_column([getattr(item, name) for item in objects], refer) for name in names]


def unpack_objects(objects: Sequence[Any], names: Sequence[str], data: Sequence[Any], refer: Reference) -> None:
    """Set on each of these new, equal objects with slots what ``pack_objects`` kept of it."""
    if len(names) != len(data):
        raise ValueError(f"{len(data)} fields are stored, {len(names)} are wanted")
    for name, column in zip(names, data, strict=True):
        if objects and column[0] == "same" and column[2] == len(objects):
            value, known = unpack(column[1], refer), getattr(objects[0], name)
            if type(value) is type(known) and value == known:
                continue  # most fields of most tasks are as a new task has them
        values = unpack_column(column, refer)
        if len(values) != len(objects):
            raise ValueError(f"{name}: {len(values)} values are stored, {len(objects)} are wanted")
        if objects:
            any(
                map(getattr(type(objects[0]), name).__set__, objects, values)
            )  # the quickest loop: it ends as all is set


def _short_table(values: list[Any]) -> dict[Any, int] | None:
    """Distinct value -> its code, in the order of appearance; None if there are too many."""
    table: dict[Any, int] = {}
    for start in range(0, len(values), _MAX_CODES):
        for value in dict.fromkeys(values[start : start + _MAX_CODES]):
            table.setdefault(value, len(table))
        if len(table) > _MAX_CODES:
            return None
    return table
