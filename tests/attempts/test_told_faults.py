"""What is said of faults of our own: enough to find them, and no value of a variable."""

from pto_attempts.outcome import Outcomes
from pto_memory import MemoryBlobStore
from pto_ports.backend import Order
from pto_proto.events import TaskReady
from pto_proto.ids import InstanceId, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_runtime.clock import SystemClock


def test_a_text_that_cannot_be_written_is_not_told() -> None:
    instance, spec = InstanceId("d-1"), TaskSpec(id=TaskId("a"), command="true")
    ready = TaskReady(at=1, task=spec.id, attempt=1, slot=0, instance=instance, spec=spec)
    outcomes = Outcomes(MemoryBlobStore(), SystemClock(), instance)
    try:
        "canary-\udcff".encode()
    except UnicodeEncodeError as error:
        end = outcomes.failed_by(Order(RunId("run-one"), 7, ready), error)
    assert "UnicodeEncodeError" in end.reason
    assert "canary" not in repr(end)
