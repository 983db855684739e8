"""A SLURM cluster on this machine, for tests: ``deploy/testbed/slurm.sh`` with a folder and ports of its own."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.fakes.ports import is_free

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "testbed" / "slurm.sh"
PORTS_EACH = 100
CLUSTER = ("slurmctld", "slurmd", "sbatch", "munged")


def is_installed(*programs: str) -> bool:
    """Whether these are there; without any, what every cluster needs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return all(shutil.which(program, path=path) for program in programs or CLUSTER)


def require_slurm(*programs: str, variables: str = "") -> None:
    """Without SLURM, or these programs, a test is skipped, with the command that installs it; under CI=true the test
    bed installs it.
    """
    if not is_installed(*programs) and os.environ.get("CI") != "true":
        missing = programs[0] if programs else "SLURM"
        pytest.skip(f"{missing} is not installed; as root: {variables}{SCRIPT} up && {SCRIPT} down")


class SlurmTestbed:
    """A running cluster. ``environment`` holds what its clients need, and nothing of other clusters."""

    def __init__(self, folder: Path, port: int, knobs: Mapping[str, str]) -> None:
        self.folder = folder
        base = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SQUEUE"))}
        self.environment = {**base, "SLURM_CONF": str(folder / "slurm.conf")}
        self._ours = {**base, **knobs, "PTO_SLURM_TESTBED_DIR": str(folder), "PTO_SLURM_TESTBED_PORT": str(port)}

    @classmethod
    def start(cls, folder: Path, nodes: int = 4, **knobs: str) -> "SlurmTestbed":
        """Start a cluster; knobs are variables of the script, such as ``MINJOBAGE``."""
        require_slurm()
        testbed = cls(folder, free_ports(), knobs)
        testbed.do("up", str(nodes))
        return testbed

    def do(self, *arguments: str) -> str:
        """Call the script."""
        done = subprocess.run(
            [str(SCRIPT), *arguments], env=self._ours, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def client(self, *arguments: str) -> str:
        """Call a client of SLURM; what it prints."""
        done = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, timeout=30, check=False, cwd=self.folder
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


def free_ports() -> int:
    """The first of a range that nobody listens in, below the ports that the system gives away by itself."""
    first = 10_000 + os.getpid() % 200 * PORTS_EACH
    for base in (*range(first, 30_000, PORTS_EACH), *range(10_000, first, PORTS_EACH)):
        if all(is_free(base + offset) for offset in range(20)):
            return base
    raise AssertionError("no free ports for a cluster")
