"""The environment of what runs on this host: an allow-list, and the mark by which a guard knows its owner's processes.

Imports the standard library only. Invariant: a variable that is neither allowed nor named never reaches a process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALLOWED = ("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
OWNER = "PTO_OWNER"
VIRTUAL = str(Path(sys.executable).parent) if sys.prefix != sys.base_prefix else ""
"""Where the programs of the virtual environment are that this process runs in, if it runs in one."""


def allowed_environment(host: Mapping[str, str], owner: str, named: Iterable[str] = ()) -> dict[str, str]:
    """What of ``host`` a process may see; ``named``: variables its plan asks for, ``owner``: marks its starter."""
    environment = {name: host[name] for name in (*ALLOWED, *named) if name in host}
    path = environment.get("PATH", DEFAULT_PATH)
    # The virtual environment that the starter runs in comes first, so that ``python3`` means the same everywhere.
    environment["PATH"] = f"{VIRTUAL}:{path}" if VIRTUAL else path
    # By-products must not look like outputs, and output must come as it is written.
    environment.update({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", OWNER: owner})
    return environment
