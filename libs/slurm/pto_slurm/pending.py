"""Why jobs wait, in SLURM's words: which waits end by themselves, which need somebody, and which never end.

Imports nothing of ours; pure. Invariant: a reason that is not known here is a wait that may end by itself.
"""

import re

UNSATISFIABLE = (
    "PartitionTimeLimit", "PartitionConfig", "PartitionNodeLimit", "BadConstraints", "AccountNotAllowed",
    "QOSNotAllowed",
)  # fmt: skip
"""Nothing that happens on the cluster ends these; they need another request."""
_PER_JOB = re.compile(
    r"(?:Assoc|QOS)(?:Grp|Max|Min)\w*PerJob(?:Limit)?\Z|(?:Assoc|QOS)MaxWall\w*\Z|QOSMin\w*\Z|Invalid\w+\Z"
)
DEPENDENCY_LOST = "DependencyNeverSatisfied"
HELD = ("JobHeldAdmin", "JobHoldMaxRequeue")
NOT_LAUNCHED = ("launch failed", "launch_failed")
NEEDS_SOMEBODY: dict[str, str] = {
    "PartitionDown": "the partition is down; the site's administrators have to bring it up",
    "PartitionInactive": "the partition is inactive; the site's administrators have to bring it up",
    "JobHeldUser": "somebody holds the job: `scontrol release` lets it go",
    "ReqNodeNotAvail": "nodes that it could run on are down, drained or reserved",
    "Reservation": "its reservation has not begun",
    "Licenses": "the licences that it asks for are taken",
    "QOSMaxSubmitJobPerUserLimit": "the QOS takes no more jobs of this user",
    "AssocGrpCPUMinutesLimit": "the account has used up its CPU minutes",
    "AssocGrpBillingMinutes": "the account has used up its billing minutes",
    "QOSGrpCPUMinutesLimit": "the QOS has used up its CPU minutes",
}
"""Waits that people are told of."""
UNSATISFIABLE_HINTS: dict[str, str] = {
    "PartitionTimeLimit": "Ask for less time, or name a partition that allows it: see `sinfo -o '%P %l'`.",
    "PartitionConfig": "No node of the partition has that much: see `sinfo -e -o '%P %c %m %G'`; ask for less.",
    "PartitionNodeLimit": "The partition has too few nodes for it: name another one.",
    "BadConstraints": "No node fits the constraint: see `sinfo -o '%P %f'`.",
}


def is_unsatisfiable(reason: str) -> bool:
    """Whether a job that waits for this reason waits for ever."""
    return reason.startswith(UNSATISFIABLE) or _PER_JOB.match(reason) is not None


def is_held(reason: str) -> bool:
    """Whether the site holds the job."""
    return reason.startswith(HELD)


def is_not_launched(reason: str) -> bool:
    """Whether a node could not launch the job, after which SLURM holds it."""
    return reason.startswith(NOT_LAUNCHED)


def what_it_needs(reason: str) -> str:
    """Who has to do what before the job can start; empty: nobody has to do anything."""
    return next((what for known, what in NEEDS_SOMEBODY.items() if reason.startswith(known)), "")
