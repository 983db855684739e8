"""Cancel of many running commands."""

import time

import pytest

from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

from .asking import Requester, Watcher
from .checker import check_log
from .processes import processes_with
from .sites import CONSOLIDATOR, DISPATCHER, PLANNER, SCHEDULER, Service, Site

MANY = 100
PATIENCE_S = 60.0
"""What a slow machine gets; the figure is printed."""


@pytest.mark.slow
async def test_after_a_cancel_no_process_is_left(site: Site, requester: Requester, watcher: Watcher) -> None:
    """100 shells, each with a child that sleeps and one that has left its session: all end."""
    site.start_all((SCHEDULER, PLANNER, Service(DISPATCHER.name, DISPATCHER.program, MANY), CONSOLIDATOR))
    command = "setsid sleep 301 & sleep 300 & wait"
    tasks = tuple(TaskSpec(id=TaskId(f"s{number}"), command=command) for number in range(MANY))
    await requester.run("cancel-many", Plan(name="sleepers", tasks=tasks), executors=MANY)
    mark = "PTO_RUN=cancel-many"
    await watcher.wait(lambda: len(list(processes_with(mark))) >= 3 * MANY, 120, "the start of all commands")
    began = time.monotonic()
    code, said = site.orchestrator("cancel", "cancel-many")
    assert code == 0, said
    await watcher.wait(lambda: not list(processes_with(mark)), PATIENCE_S, "the end of all processes")
    print(f"\n{3 * MANY} processes of {MANY} commands were gone {time.monotonic() - began:.1f} s after the cancel")
    await watcher.until_finished("cancel-many")
    assert watcher.finished["cancel-many"] == "cancelled"
    checker = await check_log(site)
    assert not checker.verdict()
    assert checker.figures["AttemptStopRequested"] == MANY
    assert not site.tracebacks()
