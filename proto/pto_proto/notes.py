"""What the source says about fields: the docstrings that stand below them, which Python itself drops.

Imports the standard library only. Invariant: needs the source files, so only the generator uses it.
"""

import ast
import inspect
from functools import cache
from types import ModuleType


def field_notes(kind: type) -> dict[str, str]:
    """Field -> what stands below it, with the fields of the classes it extends."""
    notes: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        module = inspect.getmodule(base)
        if module is not None and base.__module__.startswith("pto_"):
            notes |= _module_notes(module).get(base.__name__, {})
    return notes


@cache
def _module_notes(module: ModuleType) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                field.target.id: inspect.cleandoc(note.value.value)
                for field, note in zip(node.body, node.body[1:], strict=False)
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
                if isinstance(note.value.value, str)
            }
    return found
