"""A state as bytes, so that two of them can be compared field by field, whatever classes they are made of."""

from typing import Any

import msgspec

from pto_core.state import State

_NOT_KNOWLEDGE = {"touched"}
"""What the scheduler's shell empties as it decides; no part of what the log says."""


def dump_state(state: State) -> bytes:
    """Everything that the state holds."""
    return msgspec.json.format(msgspec.json.encode(plain(state, {}), order="sorted"), indent=1)


def plain(value: Any, seen: dict[int, str]) -> Any:
    """The value as dicts, lists and strings."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(plain(key, seen)): plain(item, seen) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(plain(item, seen)) for item in value)
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, str_keys=True)
    if hasattr(value, "_fields"):
        return [str(item) for item in value]
    if isinstance(value, list | tuple):
        return [plain(item, seen) for item in value]
    names = getattr(type(value), "__slots__", None) or vars(value)
    return {name: plain(getattr(value, name), seen) for name in names if name not in _NOT_KNOWLEDGE}
