"""The environment of a local task: what is on the allow-list, what its plan names, and who it is.

Imports ports and proto only. Invariant: a variable that is neither allowed nor named by the plan never reaches a task.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from pto_ports.backend import Order
from pto_proto.ids import external_name

ALLOWED = ("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
OWNER = "PTO_OWNER"
ATTEMPT = "PTO_ATTEMPT_ID"


def task_environment(host: Mapping[str, str], order: Order, owner: str) -> dict[str, str]:
    """The exact environment of the attempt's processes; ``owner`` marks all that this dispatcher starts."""
    ready = order.ready
    environment = {name: host[name] for name in (*ALLOWED, *ready.spec.env) if name in host}
    environment["PATH"] = _path(environment.get("PATH", DEFAULT_PATH))
    # A task's by-products must not look like its outputs, and its output must come as it is written.
    environment.update(PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    environment.update(
        {
            "PTO_RUN": order.run,
            "PTO_TASK": ready.task,
            "PTO_ATTEMPT": str(ready.attempt),
            "PTO_SLOT": str(ready.slot),
            OWNER: owner,
            ATTEMPT: external_name(order.run, ready.task, ready.attempt, ready.round),
        }
    )
    return environment


def _path(path: str) -> str:
    """The virtual environment that the dispatcher runs in comes first, so that ``python3`` means the same."""
    return f"{Path(sys.executable).parent}:{path}" if sys.prefix != sys.base_prefix else path
