"""What a person can do about a failure of each class, where nobody closer to it has said anything better.

Imports pto_proto only. Invariant: every class has one sentence.
"""

from pto_proto.events import FailureClass

HINTS: dict[FailureClass, str] = {
    "task": "See the last lines of its output; the whole log lies beside its workspace.",
    "timeout": "Raise the task's time limit (resources: time), or make it do less.",
    "capacity": "Nothing to do: its lane rests and is tried again; no retry is used up.",
    "infra": "Nothing to do: it runs again elsewhere or later; no retry is used up.",
    "config": "Mend what is named, then `orchestrator resume RUN`; finished work is kept.",
    "budget": "Raise the limit, such as by `orchestrator resume RUN --max-cost USD`; finished work is kept.",
    "cancelled": "",
}
"""Failure class -> hint."""
