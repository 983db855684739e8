"""Runs a plan's checks on the merged project, one after the other.

Imports core, harness and proto only. Invariants: a check sees no variable of this service that is not on the
allow-list; none of its processes outlives this service, however that ends (see ``pto_harness.guard``).
"""

import os
import secrets
import threading
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pto_core.views import RunView
from pto_harness import Cancel, NoSandbox, Sandbox, find_sandbox
from pto_harness.box import Box
from pto_harness.environment import OWNER, allowed_environment
from pto_harness.guard import Guard
from pto_harness.log import TaskLog
from pto_harness.process import Command, run_command
from pto_proto.results import CheckResult

CHECK_LIMIT_S = 600.0
"""One check on the merged tree; longer suites belong into a task with a time limit of its own."""
KEPT_OUTPUT_BYTES = 64 * 1024
"""Of a check's output; its last lines go into the event."""
CHECK = "PTO_CHECK_ID"
OWN_TEXT = frozenset(("simulated",))
"""Engines that write nothing but this product's own templates: their work is also checked where there is no sandbox."""


class Confined(NamedTuple):
    """What checks run in."""

    sandbox: Sandbox
    lenient: bool
    """See ``Box``."""


def confinement_for(view: RunView) -> Confined | None:
    """What the checks on the merged tree run in: nothing, if no agent wrote any of it. Raises NoSandbox."""
    run = view.run
    if run is None or run.request.sandbox == "none":
        return None
    if run.request.sandbox == "agents" and not any(task.spec.agent for task in run.tasks):
        return None
    is_ours = run.request.sandbox == "agents" and run.request.engine in OWN_TEXT
    try:
        return Confined(find_sandbox(), is_ours)
    except NoSandbox:
        if is_ours:
            return None
        raise


class Checker:
    """Runs checks, from any thread; ``close`` it at the end."""

    def __init__(self) -> None:
        self._owner = secrets.token_hex(8)
        self._guard: Guard | None = None
        self._lock = threading.Lock()

    def run(self, check: str, folder: Path, cancel: Cancel, confined: Confined | None = None) -> CheckResult:
        """Run shell text in ``folder``, confined if that is said; blocks until all its processes are gone."""
        self._start_guard()
        log = TaskLog("", KEPT_OUTPUT_BYTES, KEPT_OUTPUT_BYTES)
        name = secrets.token_hex(8)
        command = Command(
            check,
            cwd=str(folder),
            env={**allowed_environment(os.environ, self._owner), CHECK: name},
            time_limit_s=CHECK_LIMIT_S,
            marker=f"{CHECK}={name}",
            wrap=None
            if confined is None
            else partial(confined.sandbox.wrap, box=Box(str(folder), lenient=confined.lenient)),
        )
        ended = run_command(command, log.feed, cancel, self._guard)
        if ended.why == "timeout":
            log.note(f"ended at the time limit of {CHECK_LIMIT_S:g} s")
        log.close()
        passed = ended.exit_code == 0 and ended.why == "exited"
        # Where it ran is no part of what it said.
        tail = () if passed else tuple(line.replace(str(folder), ".") for line in log.tail())
        exit_code = ended.exit_code if ended.why == "exited" else None
        return CheckResult(command=check, passed=passed, exit_code=exit_code, tail=tail)

    def close(self) -> None:
        """End what is left of any check."""
        with self._lock:
            if self._guard is not None:
                self._guard.close()
                self._guard = None

    def _start_guard(self) -> None:
        with self._lock:
            if self._guard is None:
                self._guard = Guard(f"{OWNER}={self._owner}")
