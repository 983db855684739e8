"""The AWS test bed with a folder and ports of its own: ``deploy/testbed/aws.sh``."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.slurm.testbed import free_ports, require_slurm

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "testbed" / "aws.sh"
EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


class AwsTestbed:
    """A running test bed. ``environment`` holds what its users export, and nothing of other accounts and clusters."""

    def __init__(self, folder: Path, knobs: dict[str, str]) -> None:
        base = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SLURM", "SBATCH", "SQUEUE", "PTO_"))}
        self.folder = folder
        self._ours = base | knobs | {
            "PTO_AWS_TESTBED_DIR": str(folder),
            "PTO_AWS_TESTBED_PORT": str(free_ports()),
            "PTO_AWS_TESTBED_PYTHON": sys.executable,
        }  # fmt: skip
        self.environment = base | dict(EXPORT.findall(self.do("up")))

    @classmethod
    def start(cls, folder: Path, **knobs: str) -> "AwsTestbed":
        """Start it; knobs are variables of the script, such as ``BOOT_S``. End it with ``do("down")``."""
        require_slurm()
        return cls(folder, knobs)

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
            arguments, env=self.environment, capture_output=True, text=True, timeout=30, check=True, cwd=self.folder
        )
        return done.stdout.strip()

    def power_down(self, queue: str) -> None:
        """No node of this queue has an instance any more."""
        nodes = f"{queue}-dy-c1-[1-2]"
        if self._is_down(nodes):
            return
        self.client("scontrol", "update", f"nodename={nodes}", "state=power_down_force")
        for _ in range(300):
            time.sleep(0.1)
            if self._is_down(nodes):
                return
        raise AssertionError(f"{queue} does not power down")

    def _is_down(self, nodes: str) -> bool:
        return set(self.client("sinfo", "-h", "-N", "-n", nodes, "-o", "%t").split()) == {"idle~"}
