"""Why an instance could not be had: what ParallelCluster notes at a node, and what that means for an attempt.

Imports proto only; pure. Invariant: what passes by itself is ``capacity``, what somebody has to change is ``config``; a
code that is new here passes, since most do.
"""

import re
from typing import NamedTuple

from pto_proto.events import FailureClass

CODE = re.compile(r"\(Code:([A-Za-z0-9._-]+)\)")
LIMITS = {"InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "VolumeLimitExceeded"}
NOT_ALLOWED = ("AccessDenied", "AuthFailure", "Blocked", "InvalidA", "InvalidG", "InvalidI", "InvalidKey", "InvalidL",
               "InvalidParameter", "InvalidS", "OptInRequired", "PendingVerification", "Unauthorized", "Unsupported",
               "UnknownParameter", "ValidationError")  # fmt: skip
"""Beginnings of codes that come again until somebody changes the cluster's configuration or its rights."""


class NoInstance(NamedTuple):
    """How an attempt ends whose node could not be had."""

    code: str
    failure: FailureClass
    reason: str
    hint: str


def code_of(node_reason: str) -> str:
    """AWS's code in what is noted at a node; empty if there is none."""
    found = CODE.search(node_reason)
    return found.group(1) if found else ""


def no_instance(code: str, node: str, partition: str) -> NoInstance:
    """What this code means."""
    where = f"{node} of queue {partition}" if partition else node
    reason = f"no_instance:{code}: AWS gave no instance for {where}"
    if code.startswith(NOT_ALLOWED):
        return NoInstance(
            code, "config", reason, "See /var/log/parallelcluster/slurm_resume.log, and correct the cluster."
        )
    if code in LIMITS:
        hint = "Ask for a higher limit of the account in Service Quotas, or give the queue a smaller MaxCount."
    elif code == "SpotMaxPriceTooLow":
        hint = "Leave SpotPrice out of the queue, or raise it."
    else:
        hint = "More instance types or zones in the queue help; see deploy/parallelcluster."
    return NoInstance(code, "capacity", reason, hint)
