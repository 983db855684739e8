"""How a deliberate bug is put into the product, and the list of them.

Invariant: a mutant replaces product functions for the rest of the process, which therefore runs nothing else.
"""

from collections.abc import Callable
from typing import Any

from pto_core import fold
from pto_proto import events as ev

Mutant = Callable[[], None]
MUTANTS: dict[str, Mutant] = {}


def mutant(change: Mutant) -> Mutant:
    MUTANTS[change.__name__.replace("_", "-")] = change
    return change


def put(place: Any, name: str, value: Any) -> None:
    setattr(place, name, value)


def handle(kind: type[ev.Entry], handler: Callable[[Any, Any], None]) -> None:
    fold._HANDLERS[kind] = handler
