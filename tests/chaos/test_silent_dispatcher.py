"""A dispatcher that stands still for longer than anybody waits, and wakes up."""

import pytest

from .asking import Requester, Watcher
from .checker import check_log
from .conftest import trace_of
from .plans import command_plan
from .processes import processes_with
from .sites import DISPATCHER, SECOND_DISPATCHER, SERVICES, Site

PATIENCE_S = 90.0
"""A silent attempt is unknown after 10 s and lost after 30 s."""


@pytest.mark.slow
async def test_a_dispatcher_that_was_given_up_wakes_up_harmless(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """SIGSTOP of one of two dispatchers in the middle of a run: its attempts become unknown, then lost, and run again
    in the other one. The run ends without it. Woken up, it reads that they were lost: what it still has to report is
    recorded and changes nothing, it starts nothing of the past, and takes new work.
    """
    site.start_all((*SERVICES, SECOND_DISPATCHER))
    await watcher.wait(lambda: watcher.kinds["DispatcherUp"] >= 4, 60, "the start of the services")
    await requester.run("one-is-silent", command_plan(40, sleep_s=1.0), executors=8)
    await watcher.wait(lambda: watcher.succeeded["one-is-silent"] >= 8, 60, "some progress")
    site.freeze(DISPATCHER.name)
    await watcher.wait(lambda: watcher.kinds["AttemptUnknown"] > 0, PATIENCE_S, "the first doubt")
    await watcher.wait(lambda: watcher.kinds["AttemptLost"] > 0, PATIENCE_S, "the first loss")
    await watcher.until_finished("one-is-silent")
    site.thaw(DISPATCHER.name)
    site.kill(SECOND_DISPATCHER.name)
    await requester.run("after-the-nap", command_plan(20, sleep_s=0.1), executors=4)
    await watcher.until_finished("after-the-nap")
    checker = await check_log(site)
    for run, tasks in (("one-is-silent", 40), ("after-the-nap", 20)):
        checker.check_succeeded(run, tasks, checker.runs[run].outcome_digest)
    checker.check_trace(trace_of(site), ["one-is-silent", "after-the-nap"])
    assert not checker.verdict()
    assert not list(processes_with("PTO_RUN=one-is-silent"))
    print(
        f"\n{checker.figures['AttemptLost']} attempts lost, {checker.figures['late or repeated results']} late results"
    )
    assert not site.tracebacks()
