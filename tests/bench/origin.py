"""What was measured, on what: versions and machine, for the records."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from pto_bus.broker import find_server

from .meter import Record
from .options import Options

ROOT = Path(__file__).resolve().parents[2]


def product_version() -> str:
    """The package's version and, in a repository, the commit; ``+`` means that files differ from it."""
    words = ("git", "describe", "--always", "--dirty=+", "--exclude", "*")
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return f"{version('parallel-task-orchestrator')} {commit}".strip()


def machine(options: Options) -> Record:
    """The first record of each command."""
    server = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "workload": "machine", "python": platform.python_version(), "nats_server": server.split()[-1].lstrip("v"),
        "cores": len(os.sched_getaffinity(0)), "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "processor": _processor(), "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "product": product_version(), "sync": options.sync, "scale": options.scale,
    }  # fmt: skip


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
