"""The workloads' shapes as plans of the product."""

from collections.abc import Sequence

from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

from .shapes import Dependencies

NULL = "/bin/true"


def name_of(at: int) -> TaskId:
    return TaskId(f"t{at}")


def noops(dependencies: Dependencies) -> Plan:
    """Tasks that go the whole way from TaskReady to TaskFinished and do nothing."""
    return Plan(
        name="noops",
        tasks=tuple(
            TaskSpec(id=name_of(at), noop=True, depends_on=tuple(name_of(other) for other in above))
            for at, above in enumerate(dependencies)
        ),
    )


def processes(n: int) -> Plan:
    """Each task is a process that ends at once."""
    return Plan(name="processes", tasks=tuple(TaskSpec(id=name_of(at), command=(NULL,)) for at in range(n)))


def sleeps(dependencies: Dependencies, durations: Sequence[float]) -> Plan:
    """Each task sleeps as long as it said it would."""
    return Plan(
        name="sleeps",
        tasks=tuple(
            TaskSpec(
                id=name_of(at),
                command=("/bin/sleep", f"{duration:g}"),
                depends_on=tuple(name_of(other) for other in above),
                estimate_s=duration,
            )
            for at, (above, duration) in enumerate(zip(dependencies, durations, strict=True))
        ),
    )
