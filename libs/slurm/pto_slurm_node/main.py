"""The program on compute nodes: ``run ATTEMPT``, ``pilot POOL`` or ``probe``.

Imports the harness, the standard library and siblings only, Python >= 3.8. Invariant: it ends in order on SIGTERM,
SIGINT and SIGUSR1, whichever of them a site sends before it kills. Time in which SLURM suspends its job counts for no
time limit.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from pathlib import Path

from pto_harness import Cancel, sandbox_level
from pto_harness.program import main as run_own_program
from pto_harness.stopwatch import notice_stops
from pto_harness.termination import cancel_on_signal
from pto_slurm_node.executor import Node, run_attempt
from pto_slurm_node.pilot import Pilot
from pto_slurm_node.pool import Pool
from pto_slurm_node.spool import Spool

EXIT_USAGE = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def main() -> None:
    """What the argument vector asks for."""
    if run_own_program():
        return
    command, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    node, cancel = Node(dict(os.environ)), Cancel()
    cancel_on_signal(cancel.request, *SIGNALS)
    notice_stops()
    if command == "run" and len(arguments) == 1:
        attempt = Path(arguments[0])
        sys.exit(run_attempt(attempt, attempt.parents[3] / "results", node, cancel))
    elif command == "pilot" and len(arguments) == 1:
        pool = Pool(Path(arguments[0]))
        sys.exit(Pilot(Spool(pool.root.parents[1]), pool, node, cancel, _say).run())
    elif command == "probe" and not arguments:
        probe(node)
    else:
        sys.stderr.write("usage: run ATTEMPT | pilot POOL | probe\n")
        sys.exit(EXIT_USAGE)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def probe(node: Node) -> None:
    """Print what this node has, for `orchestrator doctor`."""
    level = sandbox_level()
    has = {
        "node": node.name,
        "python": platform.python_version(),
        "executable": sys.executable,
        "sandbox": level.level,
        "sandbox_meaning": level.meaning,
        "kernel": platform.release(),
        "tmp": os.environ.get("TMPDIR", "/tmp"),  # noqa: S108
    }
    sys.stdout.write(json.dumps(has) + "\n")


if __name__ == "__main__":
    main()
