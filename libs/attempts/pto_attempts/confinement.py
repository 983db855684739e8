"""What of an order runs in a sandbox, and which one this host lets us have.

Imports harness and ports. Invariant: whether a task is confined follows from the run's ``--sandbox`` and from who wrote
what it runs, never from the task's own words.
"""

from pto_harness import sandbox_level
from pto_ports.backend import Order

OWN_TEXT = frozenset(("simulated",))
"""Engines that write nothing but this product's own templates: they also work where no sandbox can be had."""


class NotConfined(Exception):
    """This host has no sandbox; the message says why and what to do."""


def sandbox_wish(order: Order) -> str:
    """``required``, ``wanted`` or empty, as the harness takes it."""
    ready = order.ready
    if ready.sandbox == "none" or (ready.sandbox == "agents" and not ready.spec.agent):
        return ""
    return "wanted" if ready.sandbox == "agents" and ready.engine in OWN_TEXT else "required"


def confinement() -> str:
    """The level that is had here, in a line for a person. Raises NotConfined."""
    had = sandbox_level()
    if had.level == "none":
        raise NotConfined(f"{had.meaning}. {had.hint}")
    return f"{had.level}: {had.meaning}" + (f". {had.hint}" if had.hint else "")
