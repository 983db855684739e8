"""The systems that can be compared, where they are, and at which sizes. Standard library only."""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from .peer import Peer

FULL: dict[str, int] = {"W1": 10_000, "W2": 500, "W3": 2_000, "W4": 1_000, "W5a": 6, "W5b": 24, "W6": 1}
READY = ".ready"
"""File in an environment that says it is whole."""


@dataclass(frozen=True)
class Known:
    """One system."""

    module: str
    name: str
    """Of the class in the module."""
    environment: str
    """Folder of its environment; empty: any Python will do."""
    package: str
    """Whose version is recorded; a program's name for those that are no Python packages, empty for Python itself."""
    sizes: Mapping[str, int]
    """Workload -> tasks at full scale."""

    def make(self) -> Peer:
        """Only in its own environment."""
        peer: Peer = getattr(import_module(f"{__package__}.{self.module}"), self.name)()
        return peer

    def version(self) -> str:
        """Only in its own environment."""
        if not self.package:
            return platform.python_version()
        if self.environment:
            return version(self.package)
        said = subprocess.run([self.package, "--version"], capture_output=True, text=True, check=True).stdout
        return said.splitlines()[0].split()[-1]

    def python(self, folder: Path, own: str) -> Path | None:
        """The interpreter that has it; None: it was not built."""
        if not self.environment:
            return Path(own)
        found = folder.absolute() / self.environment / "bin/python"
        return found if (found.parent.parent / READY).exists() else None


PEERS = {
    "threads": Known("pool", "Threads", "", "", {**FULL, "W1": 100_000}),
    "make": Known("shell", "Make", "", "make", {name: FULL[name] for name in ("W2", "W3", "W4", "W5a", "W5b")}),
    "xargs": Known("shell", "Xargs", "", "xargs", {name: FULL[name] for name in ("W4", "W5a")}),
    "taskiq-nats": Known("taskiq", "Taskiq", "taskiq", "taskiq-nats", FULL),
    "dbos": Known("dbos", "Dbos", "dbos", "dbos", {**FULL, "W1": 2_000}),
    "dask": Known("dask", "Dask", "dask", "distributed", FULL),
    "ray": Known("ray", "Ray", "ray", "ray", FULL),
    "parsl-htex": Known("parsl", "Parsl", "parsl", "parsl", FULL),
}
