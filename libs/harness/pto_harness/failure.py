"""Why an attempt cannot succeed, in the words of a person.

Imports the standard library only. Invariant: every failure names its class, and what can be done about it where
something can.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pto_harness.process import Ended

KILLED = 137
"""128 + SIGKILL: what a process ends with that the kernel killed for its memory."""


class Failed(Exception):
    """The attempt cannot succeed any more."""

    def __init__(self, failure: str, reason: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(reason)
        self.failure, self.hint, self.exit_code = failure, hint, exit_code


class WorkFailed(Exception):
    """Work that is no command failed; ``failure`` is the failure class, ``hint`` what a person can do."""

    def __init__(self, reason: str, failure: str = "task", hint: str = "") -> None:
        super().__init__(reason)
        self.failure = failure
        self.hint = hint


def missing_outputs(patterns: list[str]) -> Failed:
    """Declared outputs that are not there."""
    names = ", ".join(repr(pattern) for pattern in patterns)
    hint = "Check the path in the plan and where the command writes; outputs are relative to the workspace."
    return Failed("task", f"declared output {names} is missing", hint)


def judged_end(ended: Ended, what: str, limit_s: float, cancel_reason: str) -> Failed | None:
    """Why the end of this process is a failure; None if it is none."""
    if ended.why == "cancelled":
        return Failed("cancelled", cancel_reason or "cancelled", exit_code=ended.exit_code)
    if ended.why == "timeout":
        hint = "Raise the task's time limit (resources: time), or make it do less."
        return Failed("timeout", f"{what} was ended at the time limit of {limit_s:g} s", hint, ended.exit_code)
    if ended.exit_code == KILLED:
        hint = "It may have used more memory than there is: see the task's memory and the kernel's log."
        return Failed("task", f"{what} was killed (exit code {KILLED})", hint, ended.exit_code)
    if ended.exit_code != 0:
        return Failed("task", f"{what} ended with exit code {ended.exit_code}", exit_code=ended.exit_code)
    return None


def not_started(command: str | list[str], error: Exception) -> Failed | None:
    """Why a command could not be started, if that is the command's own fault."""
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError)):
        name = command if isinstance(command, str) else command[0]
        hint = "Is the program installed where the task runs, and executable?"
        return Failed("task", f"{name!r} cannot be started: {error.strerror}", hint, 127)
    if isinstance(error, ValueError):
        return Failed("task", f"the command cannot be started: {error}")
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return Failed("task", "the command and its environment are too long for this system")
    return None
