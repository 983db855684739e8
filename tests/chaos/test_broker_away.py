"""The broker goes away while tasks run."""

import asyncio
import os

import pytest

from .asking import Requester, Watcher
from .checker import check_log
from .conftest import trace_of
from .plans import command_plan
from .sites import Site

AWAY_S = float(os.environ.get("PTO_CHAOS_AWAY_S", "12"))


@pytest.mark.slow
async def test_what_runs_goes_on_while_the_broker_is_away(site: Site, requester: Requester, watcher: Watcher) -> None:
    """A killed broker stays away for longer than any lease or, under ``make chaos``, any patience with silence.

    What runs meanwhile ends and is reported afterwards; nothing is given up, nothing runs twice.
    """
    site.start_all()
    await watcher.wait(lambda: watcher.kinds["DispatcherUp"] >= 3, 60, "the start of the services")
    await requester.run("away-from-here", command_plan(24, sleep_s=1.0), executors=8)
    await watcher.wait(lambda: watcher.started["away-from-here"] >= 8, 60, "the start of eight tasks")
    before = len(trace_of(site).read_text().splitlines())
    site.broker.kill()
    await asyncio.sleep(AWAY_S)
    during = len(trace_of(site).read_text().splitlines())
    site.broker.restart()
    await watcher.until_finished("away-from-here")
    checker = await check_log(site)
    checker.check_succeeded("away-from-here", 24, checker.runs["away-from-here"].outcome_digest)
    checker.check_trace(trace_of(site), ["away-from-here"])
    assert not checker.verdict()
    assert during > before, "nothing ran while the broker was away"
    assert checker.figures["AttemptLost"] == 0
    assert checker.figures["attempts ended as infra"] == 0
    assert not site.tracebacks()
