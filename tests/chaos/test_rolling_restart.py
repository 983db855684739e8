"""Every service restarted in order, twice, while a run goes on: nothing is lost, and with draining nothing runs twice."""

import asyncio

import pytest

from .asking import Requester, Watcher
from .checker import check_log
from .conftest import trace_of
from .plans import command_plan
from .sites import SECOND_DISPATCHER, SERVICES, STANDBY, Site

TASKS = 2_000
SLEEP_S = 0.05
SHARE = 0.06
"""Of the run that passes between two restarts."""


@pytest.mark.slow
async def test_rolling_restart_of_every_service_twice(site: Site, requester: Requester, watcher: Watcher) -> None:
    site.variables["PTO_DRAIN_S"] = "30"
    services = (STANDBY, *SERVICES, SECOND_DISPATCHER)
    site.start_all(services)
    watcher.check = lambda: None  # services end in order, by our own word
    await requester.run("rolling", command_plan(TASKS, sleep_s=SLEEP_S), executors=8)
    restarts = [service for _ in range(2) for service in services]
    for number, service in enumerate(restarts):
        await watcher.wait(
            lambda share=(number + 1) * SHARE: watcher.succeeded["rolling"] >= share * TASKS, 120, "progress"
        )
        site.running[service.name].process.terminate()
        assert await asyncio.to_thread(site.wait_exit, service.name) == 0
        site.start(service)
    assert "rolling" not in watcher.finished, "the run was too short to restart everything in it"
    await watcher.until_finished("rolling")
    assert watcher.finished["rolling"] == "succeeded"
    checker = await check_log(site)
    trace = trace_of(site).read_text().splitlines()
    checker.check_trace(trace_of(site), ["rolling"])
    assert not checker.verdict()
    assert len(trace) == TASKS, "a task ran twice, or not at all"
    assert not site.tracebacks()


@pytest.mark.slow
async def test_draining_gives_up_after_its_time(site: Site, requester: Requester, watcher: Watcher) -> None:
    site.variables["PTO_DRAIN_S"] = "1"
    site.start_all()
    watcher.check = lambda: None
    await requester.run("long-one", command_plan(1, sleep_s=600), executors=1)
    await watcher.wait(lambda: watcher.started["long-one"] == 1, 60, "the start")
    site.running["dispatcher-local"].process.terminate()
    assert await asyncio.to_thread(site.wait_exit, "dispatcher-local", 30) == 0
    assert "drained for long enough" in site.said("dispatcher-local")
