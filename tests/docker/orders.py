"""Orders for the docker lane, and what all its pure tests share."""

from typing import Any

from pto_dispatcher_docker.body import Allowance
from pto_ports.backend import Order
from pto_proto.events import TaskReady
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.plans import TaskSpec

DEFAULTS = Allowance(image="tools:1", network="bridge", memory_bytes=4 * 2**30, cpus=2.0, pids=512)


def order(*, attempt: int = 1, round_: int = 0, task: str = "build", **fields: Any) -> Order:
    spec = TaskSpec(id=TaskId(task), **(fields or {"command": "make"}))
    ready = TaskReady(at=1, task=spec.id, attempt=attempt, round=round_, slot=3, instance=InstanceId("d-1"), spec=spec)
    return Order(RunId("run-one"), 7, ready)
