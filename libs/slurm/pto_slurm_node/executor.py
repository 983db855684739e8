"""One attempt on a compute node, from its claim to its result.

Imports the harness, the standard library and siblings only, Python >= 3.8. Invariants: of all jobs that are there for
an attempt, the one that holds its claim does it; whoever asks this process to end, the result is written before it
does, last of all, and what it names is on the disk; a job that comes before its order does nothing until that is
there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_harness import Cancel, run_task
from pto_slurm_node.agent import run_agent
from pto_slurm_node.order import BadOrder, read_order, task_of
from pto_slurm_node.spool import (
    BLOCKED,
    EARLY,
    INTERRUPTED,
    ORDER,
    RESULT,
    STARTED,
    Fence,
    claim_of,
    put_event,
    read_json,
    take_claim,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_SHOWN_BYTES = 4 * 1024 * 1024
"""Of a task's output in the job's own: it is for looking on; the whole log is the harness's."""
WRITE_TRIES, WRITE_WAIT_S = 5, 2.0
TERMINATED = 143
"""How a shell shows an end by SIGTERM."""
HEARD_S = 1.0
"""Within this time after its task, the executor hears of it too."""
ORDER_LOOK_S = 0.2
DONE, CANNOT_WRITE, NOT_YET = 0, 74, 75
"""Exit codes: everything was told by a result; the result could not be written (EX_IOERR); the order did not come, and
nothing was done (EX_TEMPFAIL).
"""


class Node:
    """Where this process runs: SLURM's word for the node, the job, and how often SLURM had started it before."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.name = environment.get("SLURMD_NODENAME") or os.uname().nodename
        self.job = environment.get("SLURM_JOB_ID", "0")
        self.restart = int(environment.get("SLURM_RESTART_COUNT") or 0)

    def fence(self, name: str) -> Fence:
        """Of an attempt that is done here."""
        return Fence(name, self.job, self.restart)


class Shown:
    """Lines for whoever looks on: the job's own output, up to a limit."""

    def __init__(self) -> None:
        self._left = MAX_SHOWN_BYTES

    def __call__(self, text: str) -> None:
        """Show a line, if there is room for it."""
        if self._left <= 0:
            return
        self._left -= len(text) + 1
        with contextlib.suppress(OSError):  # a full disk must not end the task that it shows
            sys.stdout.write(f"{text}\n" if self._left > 0 else "... more is not shown here; see the task's log\n")
            sys.stdout.flush()


def run_attempt(attempt: Path, results: Path, node: Node, cancel: Cancel) -> int:
    """Do the attempt in this folder, if no other job does; the exit code."""
    fence = node.fence(attempt.name)
    if not await_order(attempt, cancel):
        with contextlib.suppress(OSError):  # the exit code says it too
            put_event(results, fence, BLOCKED, {"node": node.name, "at": time.time()})
        sys.stderr.write("the order for this attempt did not come; nothing was done\n")
        return NOT_YET
    try:
        if not take_claim(attempt, fence):
            holder = claim_of(attempt)
            sys.stderr.write(f"job {holder.job if holder else '(unknown)'} does this attempt; nothing is left to do\n")
            return DONE
        put_event(results, fence, STARTED, {"node": node.name, "at": time.time()})
    except OSError as error:
        sys.stderr.write(f"the spool cannot be written: {error}\n")
        return CANNOT_WRITE
    with noting_interruption(results, fence, node, cancel):
        result = result_of(attempt / ORDER, attempt, fence, node, cancel, Shown())
    return put_result(results, fence, result)


def await_order(attempt: Path, cancel: Cancel) -> bool:
    """Whether there is an order. It is waited for only where it was announced that the job may come before it."""
    until: float | None = None
    while True:
        try:
            there = os.listdir(attempt)  # noqa: PTH208 - the listing refreshes the cache of NFS
        except OSError:
            there = []
        if ORDER in there or (until is None and EARLY not in there):
            return True  # without an announcement it is missing for good, which is told as a failure
        if until is None:
            until = time.monotonic() + float((read_json(attempt / EARLY) or {}).get("wait_s", 0.0))
        if cancel.requested or EARLY not in there or time.monotonic() >= until:
            return False
        time.sleep(ORDER_LOOK_S)


def result_of(
    path: Path, folder: Path, fence: Fence, node: Node, cancel: Cancel, show: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """What came of the order in this file, as the harness says it, with where that happened; never raises for the task.

    ``folder`` is the attempt's, for what an agent needs; ``show`` gets each line of its output.
    """
    began, places = time.time(), {}
    shown = show or _show_nobody
    try:
        order = read_order(path)
        task = task_of(order, fence, node.environment)
        places = {name: task.get(name, "") for name in ("workspace", "out", "log")}
        if order.get("agent"):
            result = run_agent(order, task, folder, node.name, _agent_environment(node, task), cancel, shown)
        else:
            result = run_task(task, cancel=cancel, on_line=None if show is None else lambda _, text: shown(text))
    except BadOrder as error:
        result = _failed(str(error), error.failure, error.hint)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"  # a repr may hold the value of a variable
        result = _failed(f"a fault of the executor on node {node.name}: {said}", "infra", "")
    result = _by_whose_word(result, cancel)
    return {**result, **places, "node": node.name, "began": began, "ended": time.time()}


def _by_whose_word(result: dict[str, Any], cancel: Cancel) -> dict[str, Any]:
    """SLURM tells all processes of a job to end, so a task may have gone before its executor has heard of it."""
    if result["outcome"] != "failed" or result.get("exit_code") != TERMINATED:
        return result
    until = time.monotonic() + HEARD_S
    while not cancel.requested and time.monotonic() < until:
        time.sleep(HEARD_S / 20)
    if not cancel.requested:
        return result
    return {**result, "outcome": "cancelled", "failure": "cancelled", "reason": cancel.reason, "hint": ""}


@contextlib.contextmanager
def noting_interruption(results: Path, fence: Fence, node: Node, cancel: Cancel) -> Iterator[None]:
    """If the attempt is told to end meanwhile, say so before it does; what another thread says is waited for."""

    def note() -> None:
        with contextlib.suppress(OSError):
            put_event(results, fence, INTERRUPTED, {"node": node.name, "at": time.time(), "reason": cancel.reason})

    cancel.listen(note)
    try:
        yield
    finally:
        cancel.unlisten(note)


def put_result(results: Path, fence: Fence, result: dict[str, Any]) -> int:
    """Write the result, with patience; the exit code."""
    for number in range(WRITE_TRIES):
        if number:
            time.sleep(WRITE_WAIT_S)
        try:
            put_event(results, fence, RESULT, result)
        except OSError as error:
            sys.stderr.write(f"the result cannot be written: {error}\n")
        else:
            return DONE
    return CANNOT_WRITE


def _show_nobody(_text: str) -> None:
    """The task's log has it."""


def _agent_environment(node: Node, task: dict[str, Any]) -> dict[str, str]:
    """Of ``pto-attempt`` itself: what agents run gets the task's own, which has no key of a model."""
    own = {name: task["env"][name] for name in ("HOME", "PATH", "LANG", "TMPDIR", "USER") if name in task["env"]}
    return {**node.environment, **own, "PYTHONUNBUFFERED": "1"}


def _failed(reason: str, failure: str, hint: str) -> dict[str, Any]:
    return {
        "outcome": "failed", "failure": failure, "reason": reason, "hint": hint, "tail": [reason], "exit_code": None,
        "duration_s": 0.0, "files": 0, "refused": [], "sandbox": "", "log_bytes": 0,
    }  # fmt: skip
