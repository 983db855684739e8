"""Text of a plan file to data, and from places in the data back to lines of the text.

Imports PyYAML and the standard library. Invariant: data comes from the safe loader only; a key said twice is a mistake,
never a silent choice. Lines are looked up only when there is something to report: that costs as much as reading.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, NoReturn

import yaml

from pto_client.plan_shape import Path

Format = Literal["JSON", "YAML"]
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
MAX_REPEATS = 100
"""Keys said twice that are named; nobody reads more."""
MAX_DEPTH = 5
"""tasks / [n] / matrix / name / [n]: how deep a plan goes."""
MAX_NESTING = 64
"""Nesting that is read at all."""


class NotReadable(Exception):
    """The text is neither YAML nor JSON; ``line`` counts from 1 (0: unknown)."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.line = line


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader without dates: ``2026-01-31`` is text in a plan, as it is in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


class PlanText:
    """One plan file's text."""

    def __init__(self, text: str, kind: Format) -> None:
        self._text = text
        self._kind = kind
        self._node: Any = None
        self._repeats: list[Path] = []

    def read(self) -> tuple[Any, list[Path]]:
        """What the text says, and where a key is said a second time in the same mapping. Raises NotReadable."""
        data = self._read_json() if self._kind == "JSON" else self._read_yaml()
        return data, self._repeats

    def line(self, path: Path) -> int:
        """Line of the value at this place, or of what is nearest above it; 0 if unknown."""
        node = self._root()
        line = node.start_mark.line + 1 if node is not None else 0
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line

    def _root(self) -> Any:
        if self._node is None:
            try:
                _refuse_deep(self._text)
                self._node = _Loader(self._text).get_single_node()
            except (yaml.YAMLError, NotReadable):
                return None
        return self._node

    def _read_yaml(self) -> Any:
        try:
            _refuse_deep(self._text)
            loader = _Loader(self._text)
            self._node = loader.get_single_node()
            self._find_repeats()  # before merge keys are resolved, which may repeat a key rightly
            return None if self._node is None else loader.construct_document(self._node)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            raise NotReadable(f"is not valid YAML: {error.problem or error.context}", line) from error
        except yaml.YAMLError as error:
            raise NotReadable(f"is not valid YAML: {str(error).splitlines()[0]}") from error
        except (ValueError, RecursionError, TypeError) as error:
            raise NotReadable(f"is not valid YAML: {error}") from error

    def _read_json(self) -> Any:
        try:
            return json.loads(self._text, parse_constant=_no_constant, object_pairs_hook=self._pairs)
        except json.JSONDecodeError as error:
            raise NotReadable(f"is not valid JSON: {error.msg} (column {error.colno})", error.lineno) from error
        except (ValueError, RecursionError) as error:
            raise NotReadable(f"is not valid JSON: {error}") from error

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and not self._repeats:
            self._root()
            self._find_repeats()
        return found

    def _find_repeats(self) -> None:
        self._repeats = list(islice(_repeated_keys(self._node, ()), MAX_REPEATS))


def _refuse_deep(text: str) -> None:
    """The C parser recurses without a limit and would end this process; its events do not."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTING:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise NotReadable(f"is nested more than {MAX_NESTING} levels deep; a plan needs {MAX_DEPTH}", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _child(node: Any, step: str | int) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if getattr(key, "value", None) == str(step):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        value = node.value[step]
        return value.start_mark.line + 1, value
    return None


def _repeated_keys(node: Any, path: Path) -> Iterator[Path]:
    """Bounded by the depth of a plan, however often a part is shared (YAML's anchors)."""
    if isinstance(node, yaml.MappingNode) and len(path) <= MAX_DEPTH:
        seen: set[str] = set()
        for key, value in node.value:
            name = getattr(key, "value", None)
            if isinstance(name, str) and key.tag != "tag:yaml.org,2002:merge":
                if name in seen:
                    yield (*path, name)
                seen.add(name)
                yield from _repeated_keys(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode) and len(path) <= MAX_DEPTH:
        for at, value in enumerate(node.value):
            if not isinstance(value, yaml.ScalarNode):
                yield from _repeated_keys(value, (*path, at))
