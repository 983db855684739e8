"""Two schedulers at one log: one leads, the other waits; whoever lost the lead does no harm."""

import asyncio
import time

import pytest

from pto_ports.lease import LEASE_S

from .asking import Requester, Watcher
from .checker import check_log
from .conftest import trace_of
from .plans import command_plan, noop_plan
from .sites import SCHEDULER, SERVICES, STANDBY, Site

SLACK_S = 1.0
"""The standby leads well below this after the lease has ended; a slow machine only reports more."""


@pytest.mark.slow
async def test_two_schedulers_with_names_of_their_own_do_not_fight(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """Started at once, one leads and stays; the other folds along and writes nothing."""
    site.start_all((STANDBY, *SERVICES))
    for number in range(3):
        await requester.run(f"two-names-{number}", noop_plan(500, 5), executors=50)
    await watcher.until_finished(*(f"two-names-{number}" for number in range(3)))
    await asyncio.sleep(LEASE_S)
    assert len(watcher.epochs) == 1
    checker = await check_log(site)
    assert not checker.verdict()
    assert site.exit_code(SCHEDULER.name) is None
    assert site.exit_code(STANDBY.name) is None


@pytest.mark.slow
async def test_one_scheduler_started_twice_leaves_one_leader(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """The same instance twice, by mistake: they share account and consumer. The run ends as it should, and the two
    do not depose each other for ever.
    """
    site.start_all()
    await requester.run("before-the-twin", noop_plan(500, 5), executors=50)
    await watcher.until_finished("before-the-twin")
    site.start(SCHEDULER, folder="twin")
    for number in range(3):
        await requester.run(f"with-a-twin-{number}", command_plan(20, sleep_s=0.1), executors=5)
    watcher.check = lambda: None  # one of the two may end, with a sentence
    await watcher.until_finished(*(f"with-a-twin-{number}" for number in range(3)))
    leads = len(watcher.epochs)
    await asyncio.sleep(3 * LEASE_S)
    assert len(watcher.epochs) - leads <= 1, f"they depose each other: {watcher.epochs}"
    checker = await check_log(site)
    checker.check_trace(trace_of(site), [f"with-a-twin-{number}" for number in range(3)])
    assert not checker.verdict()
    assert not site.tracebacks()
    assert None in (site.exit_code(SCHEDULER.name), site.exit_code("twin"))


@pytest.mark.slow
async def test_a_leader_that_stands_still_is_replaced_and_wakes_up_harmless(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """SIGSTOP of the leader in the middle of a run: the standby leads when the lease has ended; the woken one is the
    standby from then on, writes nothing, and leads again when the other is killed.
    """
    site.start_all()
    await watcher.wait(lambda: bool(watcher.epochs), 30, "the first epoch")
    site.start(STANDBY)
    await requester.run("leader-frozen", command_plan(60, sleep_s=0.5), executors=4)
    await watcher.wait(lambda: watcher.succeeded["leader-frozen"] >= 4, 60, "some progress")
    frozen_at = time.time()
    site.freeze(SCHEDULER.name)
    await watcher.wait(lambda: watcher.leader == STANDBY.name, 60, "the standby's lead")
    after = watcher.epochs[-1].at / 1000 - frozen_at
    print(f"\nthe standby leads {after:.2f} s after the leader was stopped (lease {LEASE_S:g} s)")
    done = watcher.succeeded["leader-frozen"]
    await watcher.wait(lambda: watcher.succeeded["leader-frozen"] > done + 4, 60, "progress under the standby")
    site.thaw(SCHEDULER.name)
    await asyncio.sleep(LEASE_S)
    assert [epoch.instance for epoch in watcher.epochs] == [SCHEDULER.name, STANDBY.name]
    assert site.exit_code(SCHEDULER.name) is None
    site.kill(STANDBY.name)
    await watcher.wait(lambda: watcher.leader == SCHEDULER.name, 60, "the lead of the one that was stopped")
    await watcher.until_finished("leader-frozen")
    checker = await check_log(site)
    checker.check_succeeded("leader-frozen", 60, checker.runs["leader-frozen"].outcome_digest)
    checker.check_trace(trace_of(site), ["leader-frozen"])
    assert not checker.verdict()
    assert not site.tracebacks()
