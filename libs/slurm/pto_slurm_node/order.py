"""What the executor is told about one attempt: the task as the harness takes it, in the words of this node.

Imports the standard library and siblings only, Python >= 3.8. Invariants: an order holds no secret, only the name of
the file that does; a job that SLURM started again works in a place of its own.

``order.json``: ``task`` (see ``pto_harness.TaskRun``; without the values of passed-through variables), ``secrets`` (the
path of their file; empty: none) and ``secret_names`` (which of them this task gets). For the work of an agent also
``agent`` (the fields of ``pto_attempts.job.AgentJob`` but for the task) and ``agent_python`` (the python of the
environment in which this distribution is installed).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pto_slurm_node.spool import InsecureSecrets, read_json, read_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pto_slurm_node.spool import Fence

OF_NODE = (
    "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "TMPDIR",
    "ZE_AFFINITY_MASK",
)  # fmt: skip
"""Variables of the node and the job that tasks see, besides those of SLURM itself."""
PREFIX = "SLURM"
PLACES = ("workspace", "out", "log")


class BadOrder(Exception):
    """The attempt cannot be done here; the message says why. ``failure`` and ``hint`` as a result has them."""

    def __init__(self, reason: str, failure: str = "infra", hint: str = "") -> None:
        super().__init__(reason)
        self.failure, self.hint = failure, hint


def read_order(path: Path) -> dict[str, Any]:
    """The order in this file. Raises BadOrder."""
    order = read_json(path)
    if not isinstance(order, dict) or not isinstance(order.get("task"), dict):
        raise BadOrder(f"{path} is not there or not whole")
    return order


def task_of(order: dict[str, Any], fence: Fence, environment: Mapping[str, str]) -> dict[str, Any]:
    """The task with this node's variables and its secrets in it. Raises BadOrder."""
    task = dict(order["task"])
    secrets = _secrets(order)
    node = {name: value for name, value in environment.items() if name in OF_NODE or name.startswith(PREFIX)}
    task["env"] = {**task.get("env", {}), **node, **secrets}
    task["secrets"] = [*task.get("secrets", ()), *secrets.values()]
    task["inline_bytes"] = 0  # a result is a file of text
    if fence.restart:
        for name in PLACES:
            if task.get(name):
                task[name] = f"{task[name]}.restart{fence.restart}"
    return task


def _secrets(order: dict[str, Any]) -> dict[str, str]:
    wanted = order.get("secret_names") or ()
    if not wanted:
        return {}
    try:
        found = read_secrets(Path(order["secrets"]))
    except InsecureSecrets as error:
        raise BadOrder(str(error), "config", "Nobody but you may read or write the spool.") from error
    return {name: found[name] for name in wanted if name in found}
