"""Whether data from a plan file has the shape of a plan: names of fields and types of values, all mistakes at once.

Imports msgspec and core. Invariant: the shape comes from the types in ``pto_proto.plans`` alone, so a new field there
is known here; data without a problem can be converted to a ``Plan``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from pto_core.task_check import suggest
from pto_proto.plans import Plan

Path = tuple[str | int, ...]
Note = Callable[[Path, str], None]
_NUMBERS_AS_TEXT = {"memory", "time"}
"""Text fields in which a bare number is natural: ``time: 90``, ``memory: 1024``."""
_PLAN = inspect.type_info(Plan)


def shape_plan(data: object, note: Note) -> Any:
    """``data`` with small liberties straightened (a single text where a list is meant); ``note`` gets each mistake."""
    return _shape(_PLAN, data, (), note)


def place(path: Path) -> str:
    """``tasks[2].outputs[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def kind_of(value: object) -> str:
    """What a person would call this value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else type(value).__name__


def _shape(info: inspect.Type, value: Any, path: Path, note: Note) -> Any:
    if value is None and path:
        note(path, "is empty; give a value or leave it out")
        return None
    if isinstance(info, inspect.StructType):
        return _shape_struct(info, value, path, note)
    if isinstance(info, inspect.UnionType):
        return _shape_union(info, value, path, note)
    if isinstance(info, inspect.VarTupleType):
        return _shape_list(info.item_type, value, path, note)
    if isinstance(info, inspect.DictType):
        return _shape_mapping(info, value, path, note)
    if isinstance(info, inspect.AnyType):
        return value
    return _shape_plain(info, value, path, note)


def _shape_struct(info: inspect.StructType, value: Any, path: Path, note: Note) -> Any:
    if not isinstance(value, dict):
        what = "the plan" if not path else ""
        note(path, f"{what} must be a mapping, not {kind_of(value)}".strip())
        return None
    fields = {field.name: field for field in info.fields}
    shaped = {}
    for key, item in value.items():
        field = fields.get(key) if isinstance(key, str) else None
        if field is None:
            hint = suggest(str(key), list(fields)) or f"; known are {_names(info)}"
            note((*path, str(key)), f"is not known here{hint}")
        else:
            shaped[key] = _shape(field.type, item, (*path, key), note)
    for field in info.fields:
        if field.required and field.name not in value:
            note(path, f"{'the plan ' if not path else ''}lacks {field.name!r}")
    return shaped


def _names(info: inspect.StructType) -> str:
    return ", ".join(field.name for field in info.fields)


def _shape_union(info: inspect.UnionType, value: Any, path: Path, note: Note) -> Any:
    types = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
    if isinstance(value, str):
        types.sort(key=lambda kind: not isinstance(kind, inspect.StrType))
    else:
        types.sort(key=lambda kind: isinstance(kind, inspect.StrType) == isinstance(value, list))
    return _shape(types[0], value, path, note)


def _shape_list(item: inspect.Type, value: Any, path: Path, note: Note) -> Any:
    if isinstance(value, str) and isinstance(item, inspect.StrType):
        return [value]
    if not isinstance(value, list):
        note(path, f"must be a list, not {kind_of(value)}")
        return None
    return [_shape(item, one, (*path, at), note) for at, one in enumerate(value)]


def _shape_mapping(info: inspect.DictType, value: Any, path: Path, note: Note) -> Any:
    if not isinstance(value, dict):
        note(path, f"must be a mapping of names to values, not {kind_of(value)}")
        return None
    shaped = {}
    for key, item in value.items():
        if not isinstance(key, str):
            note((*path, str(key)), f"the name {key!r} must be text, not {kind_of(key)}; put it in quotes")
        else:
            shaped[key] = _shape(info.value_type, item, (*path, key), note)
    return shaped


def _shape_plain(info: inspect.Type, value: Any, path: Path, note: Note) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(info, inspect.StrType):
        if isinstance(value, str):
            return value
        if is_number and path[-1] in _NUMBERS_AS_TEXT:
            return str(value)
        hint = "; put it in quotes" if isinstance(value, int | float) else ""
        note(path, f"must be text, not {kind_of(value)}{hint}")
    elif isinstance(info, inspect.BoolType):
        if isinstance(value, bool):
            return value
        note(path, f"must be true or false, not {kind_of(value)}")
    elif isinstance(info, inspect.IntType):
        if is_number and isinstance(value, int):
            return value
        note(path, f"must be a whole number, not {value if is_number else kind_of(value)}")
    elif is_number:
        return float(value) if abs(value) < 2**1000 else float("inf")
    else:
        note(path, f"must be a number, not {kind_of(value)}")
    return None


def salvage(shaped: Any) -> Any:
    """What can still be checked of data with mistakes: without them, each task at its place. None: nothing."""
    if not isinstance(shaped, dict) or not isinstance(shaped.get("tasks"), list):
        return None
    pruned = _prune(shaped)
    pruned["tasks"] = [
        _prune(task) | {"id": task.get("id") or f"unnamed-{at}"}
        if isinstance(task, dict)
        else {"id": f"unnamed-{at}", "noop": True}
        for at, task in enumerate(shaped["tasks"])
    ]
    return pruned


def _prune(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _prune(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_prune(item) for item in value if item is not None]
    return value


def to_plan(shaped: Any) -> Plan:
    """The plan in data that ``shape_plan`` found no mistake in."""
    return msgspec.convert(shaped, Plan)
