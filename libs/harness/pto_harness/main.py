"""``pto-harness task.json [result.json]``: runs one task where no dispatcher runs, such as in a container.

Imports the standard library only. Invariant: the result file appears complete or not at all; SIGTERM ends the task in
order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pto_harness.cancel import Cancel
from pto_harness.runner import run_task
from pto_harness.termination import cancel_on_signal

EXIT_USAGE = 2


def main() -> None:
    """Run the task named on the command line; the exit code is 0 when a result was written, whatever it says."""
    if len(sys.argv) not in (2, 3):
        sys.stderr.write("usage: pto-harness task.json [result.json]\n")
        sys.exit(EXIT_USAGE)
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else source.with_name("result.json")
    try:
        task = json.loads(source.read_text())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"pto-harness: {source} cannot be read: {error}\n")
        sys.exit(EXIT_USAGE)
    cancel = Cancel()
    cancel_on_signal(cancel.request)
    result = run_task(task, cancel=cancel)
    part = target.with_name(target.name + ".part")
    part.write_text(json.dumps(result))
    part.replace(target)


if __name__ == "__main__":
    main()
