"""The plans of the runs: layers of noops, and commands that leave a trace."""

from pathlib import Path

from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

TRACE = "PTO_TRACE"
"""Variable with the file to which each command appends; passed through, so that it is not part of any key."""
APPEND = f'echo "$PTO_RUN $PTO_TASK $PTO_ATTEMPT $$" >> "${TRACE}"'
"""One write of one line: the kernel appends it whole."""
FAN_IN = 3
"""Dependencies of a noop on the layer before."""
OUTPUT_EVERY = 10
"""One command of this many also makes a file."""


def gate(file: Path) -> str:
    """A command that ends when there is such a file: its run goes on for as long as a test wants it to."""
    return f"while [ ! -e {file} ]; do sleep 0.05; done"


def noop_plan(count: int, layers: int) -> Plan:
    """``count`` noops in layers; each depends on a few of the layer before."""
    width = -(-count // layers)
    tasks = []
    for number in range(count):
        layer, place = divmod(number, width)
        above = {(place * 7 + step * 13) % width for step in range(FAN_IN)} if layer else set()
        depends_on = tuple(TaskId(f"n{(layer - 1) * width + other}") for other in sorted(above))
        tasks.append(TaskSpec(id=TaskId(f"n{number}"), noop=True, depends_on=depends_on))
    return Plan(name=f"{count} noops", tasks=tuple(tasks))


def command_plan(count: int, *, sleep_s: float = 0.0) -> Plan:
    """``count`` commands that append a line each; some make a file, some wait for another one.

    Half of them leave their trace before they sleep, the others after it.
    """
    tasks = []
    for number in range(count):
        steps = [APPEND, f"sleep {sleep_s}"] if number % 2 else [f"sleep {sleep_s}", APPEND]
        command = "; ".join(steps) if sleep_s else APPEND
        if number % OUTPUT_EVERY == 0:
            command += f"; echo made by {number} > made-{number}.txt"
        depends_on = (TaskId(f"c{number - 5}"),) if number % 7 == 6 else ()
        tasks.append(TaskSpec(id=TaskId(f"c{number}"), command=command, depends_on=depends_on, env=(TRACE,)))
    return Plan(name=f"{count} commands", tasks=tuple(tasks))
