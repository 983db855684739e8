"""The steps of docs/howto/operate.md that upgrade a running system, run as they are written there, with a run in flight."""

import json
from pathlib import Path

import pytest
from tests.upgrade.test_histories import HISTORIES

from pto_bus.event_log import NatsEventLog
from pto_core.fold import evolve
from pto_core.state import State
from pto_ports.event_log import Outgoing
from pto_proto.envelope import decode_event
from pto_proto.subjects import REQUEST_STREAM

from .places import USERS, Place, steps
from .processes import SERVICES
from .servers import Keyed, until

OLD_LOG = HISTORIES[0]
"""What the oldest release wrote in a run that succeeded; its first sequence is 1."""


async def write_old_log(broker: Keyed) -> None:
    """Have the broker hold what the oldest release left: its log, and as many requests as that had read."""
    writers = {name: await broker.connect(name) for name in (*SERVICES, "requester")}
    state = State()
    for line in OLD_LOG.read_text().splitlines():
        message = json.loads(line)
        data = json.dumps(message["data"]).encode()
        event = decode_event(data)
        log = NatsEventLog(writers[event.source.rpartition("/")[2]])
        assert await log.append([Outgoing(message["subject"], data, "")]) == message["seq"]
        evolve(state, message["seq"], event)
    queue = NatsEventLog(writers["requester"], REQUEST_STREAM)
    for _ in range(state.request_seq):
        await queue.append([Outgoing("pto.req.run-requested.requester", b"{}", "")])
    for connection in writers.values():
        await connection.close()


def plan_with_gate(folder: Path) -> dict[str, object]:
    """Its second task says each time that it starts, and ends when there is a file ``go``."""
    through = f"echo started >> {folder}/starts; until test -e {folder}/go; do sleep 0.1; done; cat one > two"
    return {
        "tasks": [
            {"id": "before", "command": "echo 1 > one", "outputs": ["one"]},
            {"id": "through", "command": through, "depends_on": ["before"], "outputs": ["two"], "retries": 0},
            {"id": "after", "command": "cat one two > three", "depends_on": ["through"], "outputs": ["three"]},
        ]
    }


@pytest.mark.slow
async def test_the_steps_of_the_page_upgrade_a_system_with_a_run_in_flight(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps(plan_with_gate(tmp_path)))
    try:
        await place.up(write_old_log)
        run = place.ask("run", "--plan", "plan.json", "--detach").split()[-1]
        await until((tmp_path / "starts").exists)

        await place.follow(steps("The replay gate"))
        await place.follow(steps("To upgrade"))

        assert set(place.replaced) == set(USERS)
        assert place.replaced[:2] == ["scheduler-2", "scheduler-1"]
        await until(lambda: (tmp_path / "starts").read_text().count("started") == 2)  # a restart burns no retry
        (tmp_path / "go").touch()
        place.ask("watch", run)
        place.ask("fetch", run, "-o", "out")
        assert next((tmp_path / "out").rglob("three")).read_text() == "1\n1\n"
        assert "all is well" in place.ask("audit")
        assert run in (listed := place.ask("list"))
        assert "build-a-todo-list" in listed, "what the old release had done is known no more"
    finally:
        place.down()
