"""The harness: runs one task in a workspace and says what came of it.

Standard library only, Python >= 3.8, imports nothing else of ours. Invariant: ``succeeded`` means that the work ended
well, every declared output is there, every check passed, and the bundle and its manifest are on disk.
"""

from pto_harness.cancel import Cancel
from pto_harness.desk import Desk
from pto_harness.failure import WorkFailed
from pto_harness.globs import matches
from pto_harness.runner import TaskRun, Work, run_task
from pto_harness.sandbox import NoSandbox, Sandbox, SandboxLevel, find_sandbox, sandbox_level

__all__ = [
    "Cancel",
    "Desk",
    "NoSandbox",
    "Sandbox",
    "SandboxLevel",
    "TaskRun",
    "Work",
    "WorkFailed",
    "find_sandbox",
    "matches",
    "run_task",
    "sandbox_level",
]
