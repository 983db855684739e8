"""Which sandbox this host lets us have, and how a command is put into it.

Imports the standard library only. Invariant: a level is named only after a program really ran under it here.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import lru_cache
from typing import NamedTuple, Protocol

from pto_harness import landlock
from pto_harness.box import Box
from pto_harness.bubblewrap import find_bubblewrap
from pto_harness.host_files import network_paths, shown_paths
from pto_harness.limits import PROBE_S
from pto_harness.program import own_program

INSTALL = "Install bubblewrap (on Debian and Ubuntu: apt-get install bubblewrap), or choose --sandbox none."
LEVELS = ("bubblewrap", "landlock", "none")
"""The best one first."""


class Sandbox(Protocol):
    """A way to run programs confined."""

    level: str

    def wrap(self, argv: list[str], box: Box) -> list[str]:
        """The arguments that run ``argv`` in the box."""


class NoSandbox(Exception):
    """None can be had here; the message says why, ``hint`` what to do."""

    hint = INSTALL


class Landlock:
    """Confines by the kernel's rules alone: others are seen, but not touched."""

    level = "landlock"
    has_own_network = False
    """Whether what it runs really got a network of its own."""

    def wrap(self, argv: list[str], box: Box) -> list[str]:
        """The arguments that run ``argv`` in the box."""
        shape = {
            "readable": [*shown_paths(), *box.readable],
            "writable": [box.workspace, *box.writable],
            "network": box.network,
            "lenient": box.lenient,
            "keeps_home": box.keeps_home,
        }
        return [*own_program("confine"), json.dumps(shape), *argv]


class SandboxLevel(NamedTuple):
    """What is had here, in words for a person."""

    level: str
    meaning: str
    hint: str
    """What to do to have more; empty: nothing."""


def find_sandbox() -> Sandbox:
    """The best one. Raises NoSandbox. Takes some milliseconds the first time."""
    wrapped, why = find_bubblewrap()
    if wrapped is not None:
        return wrapped
    laid, reason = _find_landlock()
    if laid is not None:
        return laid
    raise NoSandbox(f"no sandbox can be had here: {why}, and {reason}")


@lru_cache(maxsize=1)
def _find_landlock() -> tuple[Landlock | None, str]:
    version = landlock.abi()
    if version == 0:
        return None, "the kernel has no Landlock"
    found = Landlock()
    argv = found.wrap(["/bin/cat", "/proc/self/net/dev"], Box(workspace="/usr"))
    try:
        tried = subprocess.run(argv, capture_output=True, timeout=PROBE_S, check=False, cwd="/", env={})
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"Landlock cannot be tried: {error}"
    said = tried.stderr.decode(errors="replace").strip()
    if tried.returncode != 0:
        return None, f"Landlock does not work here ({said[-200:]})"
    names = {line.partition(b":")[0].strip() for line in tried.stdout.splitlines() if b":" in line}
    found.has_own_network = names == {b"lo"}
    return found, ""


def sandbox_level() -> SandboxLevel:
    """What agents' work runs under on this host, for ``orchestrator doctor``."""
    try:
        found = find_sandbox()
    except NoSandbox as error:
        return SandboxLevel("none", str(error), INSTALL)
    if found.level == "bubblewrap":
        return SandboxLevel(found.level, "own files, processes and network", "")
    own = isinstance(found, Landlock) and found.has_own_network
    network = "own network" if own else "no TCP" if landlock.keeps_network_out() else "the network of this host"
    hint = "Install bubblewrap (on Debian and Ubuntu: apt-get install bubblewrap) to hide the others too."
    return SandboxLevel(found.level, f"own files, {network}, the processes of this host ({find_bubblewrap()[1]})", hint)


def program_box(workspace: str, scratch: str, program: str, environment: dict[str, str]) -> Box:
    """For a program that asks a model: it has the network, its own home, and sees its own files."""
    files = [os.path.realpath(program), program] if os.path.isabs(program) else []  # noqa: PTH117
    return Box(
        workspace=workspace,
        writable=(scratch,),
        readable=(*(path for path in files if os.path.exists(path)), *network_paths(environment)),  # noqa: PTH110
        network=True,
        keeps_home="HOME" in environment,
    )
