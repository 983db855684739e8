"""``orchestrator audit``: a real run is fine, a log that was tampered with is told, live states are compared."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pto_bus.broker import Broker
from pto_bus.connect import connect
from pto_bus.event_log import NatsEventLog
from pto_bus.session import Session, open_session
from pto_bus.topology import single_host_accounts
from pto_core.fold import evolve
from pto_core.state import State
from pto_ports.event_log import Outgoing
from pto_ports.observer import Look
from pto_proto import events as ev
from pto_proto.envelope import Event, decode_event, encode_event
from pto_proto.ids import LANE_LOCAL, Digest, InstanceId, RunId, TaskId
from pto_proto.plans import TaskSpec
from pto_proto.requests import RunRequested
from pto_runtime.audit_answers import AuditAnswers
from pto_runtime.clock import SystemClock

ORCHESTRATOR = str(Path(sys.executable).parent / "orchestrator")
PLAN = """\
name: Two
tasks:
- {id: a, command: "echo a > a.txt"}
- {id: b, noop: true, depends_on: a}
"""


@pytest.fixture
def own_environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PTO_", "NATS_"))}
    return {**kept, "XDG_STATE_HOME": str(tmp_path / "state")}


class Runs:
    """The command line in a folder of its own, with one run that has succeeded."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        (folder / "plan.yaml").write_text(PLAN)
        assert self.call("--plan", "plan.yaml", "-q").returncode == 0
        self.run = RunId(json.loads(self.call("list", "--json").stdout)["run"])

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [ORCHESTRATOR, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def forge(self, *entries: ev.Entry) -> None:
        """Put an event into the log as the scheduler might."""
        store = self.folder / "state" / "parallel-orchestrator" / "runs" / self.run / "store"
        event = Event(
            id="1.999.0", source="scheduler/scheduler", kind=type(entries[0]), lane=LANE_LOCAL, run=self.run,
            entries=entries,
        )  # fmt: skip

        async def append() -> None:
            connection = await connect(broker.url, user="scheduler", password="p")
            await NatsEventLog(connection).append([Outgoing(event.subject, encode_event(event), event.id)])
            await connection.close()

        with Broker.start(store, single_host_accounts("p", (LANE_LOCAL,))) as broker:
            asyncio.run(append())


@pytest.fixture
def runs(tmp_path: Path, own_environment: dict[str, str]) -> Runs:
    return Runs(tmp_path, own_environment)


def test_a_run_of_this_machine_is_audited(runs: Runs, tmp_path: Path) -> None:
    said = runs.call("audit", runs.run, "--blobs")
    assert said.returncode == 0, said.stdout
    assert said.stdout.endswith("all is well\n")
    assert "no live scheduler to compare with" in said.stdout
    found = json.loads(runs.call("audit", runs.run, "--blobs", "--json").stdout)
    assert found["ok"]
    assert list(found["runs"]) == [runs.run]
    assert {check["check"]: check["ok"] for check in found["checks"]} == {
        "sequences": True, "events": True, "epochs": True, "executors": True, "hand-outs": True, "dependencies": True,
        "rounds": True, "results": True, "outcomes": True, "blobs": True, "live": None,
    }  # fmt: skip
    again = json.loads(runs.call("audit", runs.run, "--json").stdout)
    assert (again["digest"], again["sequence"]) == (found["digest"], found["sequence"]), "an audit changes nothing"
    blobs = tmp_path / "state" / "parallel-orchestrator" / "blobs"
    gone = 0
    for file in blobs.rglob("*"):
        if file.is_file():
            file.unlink()
            gone += 1
    assert gone
    said = runs.call("audit", runs.run, "--blobs")
    assert said.returncode == 1
    assert "manifest of a: blob" in said.stdout


def test_a_log_that_was_tampered_with_is_told(runs: Runs) -> None:
    ready = ev.TaskReady(
        at=1, task=TaskId("a"), attempt=1, instance=InstanceId("dispatcher-local"), spec=TaskSpec(id=TaskId("a"))
    )
    runs.forge(ready)
    said = runs.call("audit", runs.run)
    assert said.returncode == 1
    assert "attempt 1 of a was handed out again" in said.stdout
    assert said.stdout.endswith("promises are broken: see what failed above\n")
    found = json.loads(runs.call("audit", runs.run, "--json").stdout)
    (failed,) = [check for check in found["checks"] if check["ok"] is False]
    assert failed["check"] == "hand-outs"
    assert [finding["run"] for finding in failed["findings"]] == [runs.run] * 2


@pytest.mark.parametrize("words", [(), ("no-such-run",), ("no-such-run", "--nats-url", "nats://127.0.0.1:1"), ("A B",)])
def test_wrong_use_is_told(tmp_path: Path, own_environment: dict[str, str], words: tuple[str, ...]) -> None:
    said = subprocess.run(
        [ORCHESTRATOR, "audit", *words], cwd=tmp_path, env=own_environment, capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 2, said
    assert said.stderr.startswith("orchestrator: ")


# --- a broker with a scheduler that is there -------------------------------------------------------------------------


class Scheduler:
    """A scheduler as far as an audit sees it: it has folded the log and answers."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state = State()
        self.answers = AuditAnswers(
            session.live, SystemClock(), lambda: Look(self.state, "leading"), instance=InstanceId("scheduler"),
            incarnation="abc",
        )  # fmt: skip

    async def accept(self, run: str) -> None:
        accepted = ev.RunAccepted(at=1, content_digest=Digest("c"), request=RunRequested(run=RunId(run)))
        event = Event(id=f"0.{run}", source="test", kind=ev.RunAccepted, lane=None, run=RunId(run), entries=(accepted,))
        data = encode_event(event)
        seq = await self.session.log.append([Outgoing(event.subject, data, event.id)])
        evolve(self.state, seq, decode_event(data))


@pytest.fixture
async def scheduler(broker: Any) -> AsyncIterator[Scheduler]:
    session = await open_session(broker.url, user="scheduler", password=broker.password)
    scheduler = Scheduler(session)
    for number in range(3):
        await scheduler.accept(f"run-{number}xx")
    yield scheduler
    await scheduler.answers.close()
    await session.close()


async def audit(broker: Any, environment: dict[str, str], user: str, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        ORCHESTRATOR, "audit", "--nats-url", broker.url, *words, stdout=asyncio.subprocess.PIPE,
        env={**environment, "PTO_USER": user, "PTO_PASSWORD": broker.password},
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode()


@pytest.mark.parametrize("user", ["requester", "viewer"])
async def test_a_live_state_that_is_the_same_is_fine(
    broker: Any, scheduler: Scheduler, own_environment: dict[str, str], user: str
) -> None:
    await scheduler.answers.open()
    code, said = await audit(broker, own_environment, user)
    assert code == 0, said
    assert "scheduler scheduler (leading) knows the same at sequence 3" in said


async def test_a_live_state_that_differs_is_told_by_run(
    broker: Any, scheduler: Scheduler, own_environment: dict[str, str]
) -> None:
    scheduler.state.runs[RunId("run-1xx")].max_executors = 1000
    await scheduler.answers.open()
    code, said = await audit(broker, own_environment, "viewer")
    assert code == 1, said
    assert "run run-1xx: differs" in said
    assert "run run-2xx: differs" not in said


async def test_a_broker_without_a_scheduler_is_audited_too(
    broker: Any, scheduler: Scheduler, own_environment: dict[str, str]
) -> None:
    code, said = await audit(broker, own_environment, "viewer", "--json")
    assert code == 0, said
    found = json.loads(said)
    assert (found["live"], found["sequence"], len(found["runs"])) == ([], 3, 3)
