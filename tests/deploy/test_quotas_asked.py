"""What a requester is told when the run is not theirs, when a quota is used up, and when the front door is full."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pto_bus.topology import Account, Sizes

from .processes import SERVICES, Processes
from .servers import Keyed, Server, accounts_in, make_certificates

PLAN = "tasks: [{id: a, command: sleep 600}, {id: b, noop: true}, {id: c, noop: true}]"
"""The first task ends by its cancellation."""
QUOTAS = {"PTO_QUOTA_REQUESTS": "4", "PTO_QUOTA_TASKS": "3", "PTO_QUOTA_BYTES": "20000"}


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[Keyed]:
    make_certificates(tmp_path / "tls")
    people = tuple(Account(user=user, role="requester") for user in ("alice", "bob"))
    accounts = accounts_in(tmp_path / "accounts", more=people)
    broker = Keyed(Server(tmp_path / "broker", "server.conf", tls=tmp_path / "tls", users=accounts).start(), accounts)
    yield broker
    broker.server.end()


@pytest.mark.slow
async def test_a_requester_changes_own_runs_alone_and_is_told_of_quotas(keyed: Keyed, tmp_path: Path) -> None:
    await keyed.set_up()
    processes = Processes(tmp_path, keyed)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "long.yaml").write_text(PLAN.replace("]", ", {id: d, noop: true}]"))
    try:
        for service in SERVICES:
            processes.start(service, **QUOTAS)
        processes.wait_until_up()
        run = processes.orchestrator("run", "--plan", "plan.yaml", "--detach", user="alice").strip()
        for words in (["cancel", run], ["pause", run]):
            said = processes.orchestrator(*words, user="bob", code=2)
            assert f"run {run} is alice's; only alice or an operator may change it" in said
        assert "is paused" in processes.orchestrator("pause", run, user="operator")
        assert "is being cancelled" in processes.orchestrator("cancel", run, user="operator")
        said = processes.orchestrator("run", "--plan", "long.yaml", "--detach", user="alice", code=3)
        assert "quota: the plan has 4 tasks and a run may have 3 here" in said
        (tmp_path / "small.yaml").write_text("tasks: [{id: a, noop: true}]")
        said = ""
        for _ in range(2 * 4 + 1):  # the minute may turn once
            said = processes.orchestrator("run", "--plan", "small.yaml", "--detach", user="bob", code=None)
            if "quota" in said:
                break
        assert "quota: bob may ask for 4 requests in a minute and has; ask again in" in said
        processes.orchestrator("run", "--plan", "small.yaml", "--detach", user="operator")
    finally:
        processes.close()


@pytest.mark.slow
async def test_a_full_front_door_is_told_at_once(keyed: Keyed, tmp_path: Path) -> None:
    await keyed.set_up(Sizes(request_bytes=4_000))
    processes = Processes(tmp_path, keyed)
    (tmp_path / "plan.yaml").write_text("tasks: [{id: a, command: " + "'" + 3_000 * "x" + "'}]")
    said = processes.orchestrator("run", "--plan", "plan.yaml", "--detach", user="alice", code=3)
    assert "nobody answered" in said
    said = processes.orchestrator("run", "--plan", "plan.yaml", "--detach", user="bob", code=3)
    assert "the request was not taken" in said
    assert "`orchestrator archive`" in said
