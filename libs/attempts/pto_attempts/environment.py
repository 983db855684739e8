"""The environment of a local task: what is on the allow-list, what its plan names, and who it is.

Imports core, harness, ports and proto. Invariants: what is neither allowed nor named by the plan never reaches a task;
a key of a model never reaches what an agent wrote or runs, whatever the plan names.
"""

from collections.abc import Mapping

from pto_core.task_check import MODEL_KEYS
from pto_harness.environment import allowed_environment
from pto_ports.backend import Order
from pto_proto.ids import external_name

ATTEMPT = "PTO_ATTEMPT_ID"


def task_environment(host: Mapping[str, str], order: Order, owner: str) -> dict[str, str]:
    """The exact environment of the attempt's processes; ``owner`` marks all that this dispatcher starts."""
    ready = order.ready
    named = [name for name in ready.spec.env if not (ready.spec.agent and name in MODEL_KEYS)]
    return {
        **allowed_environment(host, owner, named),
        "PTO_RUN": order.run,
        "PTO_TASK": ready.task,
        "PTO_ATTEMPT": str(ready.attempt),
        "PTO_SLOT": str(ready.slot),
        ATTEMPT: external_name(order.run, ready.task, ready.attempt, ready.round),
    }
