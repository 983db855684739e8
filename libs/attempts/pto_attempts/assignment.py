"""What the harness is told about one attempt: an order in its words.

Imports core, ports and siblings. Invariant: an attempt's places are its own; nothing else uses their names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pto_attempts.confinement import sandbox_wish
from pto_attempts.environment import ATTEMPT, task_environment
from pto_core.units import parse_memory_bytes, parse_time_s
from pto_ports.backend import Order

INLINE_BYTES = 64 * 1024
"""Outputs up to this size go to the blob store without a file in between: on ext4, making and removing many files slows
down making any for seconds, because numbers of files that were removed just now are not used again."""
MARK = "unfinished"


def describe(order: Order, folder: Path, host_environment: Mapping[str, str], owner: str) -> dict[str, Any]:
    """The task as ``TaskRun`` takes it, but for its files; ``folder`` holds the run's workspaces."""
    ready, spec = order.ready, order.ready.spec
    place, name = f"{folder}/executor_{ready.slot}", _name(order, ready.attempt)
    environment = task_environment(host_environment, order, owner)
    task = {
        "workspace": f"{place}/{name}",
        "out": f"{place}/.{name}.out",
        "log": f"{place}/{name}.log",
        "inline_bytes": INLINE_BYTES,
        "command": list(spec.command) if isinstance(spec.command, tuple) else spec.command,
        "env": environment,
        "secrets": [environment[variable] for variable in spec.env if variable in environment],
        "marker": f"{ATTEMPT}={environment[ATTEMPT]}",
        "outputs": list(spec.outputs),
        "checks": list(spec.checks),
        "time_limit_s": float(parse_time_s(spec.resources.time)) if spec.resources.time else 0.0,
        "memory_bytes": parse_memory_bytes(spec.resources.memory) if spec.resources.memory else 0,
        "sandbox": sandbox_wish(order),
    }
    if spec.agent:
        task |= {
            "writes": list(spec.writes),
            "unfinished": f"{place}/.{name}.{MARK}",
            "earlier": _earlier(order, folder),
        }
    return task


def _earlier(order: Order, folder: Path) -> list[str]:
    """[workspace, mark] of the attempt before this one, if it was cut off here; any slot may have had it."""
    if order.ready.attempt < 2:
        return []
    name = _name(order, order.ready.attempt - 1)
    for mark in sorted(folder.glob(f"executor_*/.{name}.{MARK}")):
        return [str(mark.with_name(name)), str(mark)]
    return []


def _name(order: Order, attempt: int) -> str:
    ready = order.ready
    return f"{ready.task}.{attempt}" + (f".r{ready.round}" if ready.round else "")
