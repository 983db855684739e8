"""``orchestrator archive``: a broker's log gets shorter and everybody goes on; old runs of this machine are removed."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pto_bus.connect import connect
from pto_bus.mirror import wait_for_mirror
from pto_bus.session import open_session
from pto_core.reading import fold_message
from pto_core.snapshot import digest
from pto_core.state import State
from pto_ports.event_log import EventLog, Outgoing, Recorded
from pto_proto import events as ev
from pto_proto.envelope import Event, encode_event
from pto_proto.ids import Digest, InstanceId, RunId
from pto_proto.requests import RunRequested
from pto_runtime.beginning import begin, last_archived

ORCHESTRATOR = str(Path(sys.executable).parent / "orchestrator")


@pytest.fixture
def own_environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PTO_", "NATS_"))}
    return {**kept, "XDG_STATE_HOME": str(tmp_path / "state")}


# --- a broker's log --------------------------------------------------------------------------------------------------


class Archive:
    """A broker's log with ended runs and a new epoch, and the command on it."""

    def __init__(self, broker: Any, environment: dict[str, str], folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.environment = {**environment, "PTO_PASSWORD": broker.password}

    async def call(self, *words: str, code: int = 0, **environment: str) -> str:
        process = await asyncio.create_subprocess_exec(
            ORCHESTRATOR, "archive", "--nats-url", self.broker.url, *words, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, cwd=self.folder, env={**self.environment, **environment},
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert b"Traceback" not in said, said.decode()
        assert process.returncode == code, said.decode()
        return said.decode()

    async def write(self, runs: range, epoch: int) -> None:
        session = await open_session(self.broker.url, user="scheduler", password=self.broker.password)
        for number in runs:
            run = RunId(f"run-{number:03d}")
            accepted = ev.RunAccepted(at=1000 * number, content_digest=Digest("c"), request=RunRequested(run=run))
            finished = ev.RunFinished(at=1000 * number + 1, status="failed", tasks={})
            for entry in (accepted, finished):
                await self._append(session.log, run, entry)
        started = ev.SchedulerEpochStarted(
            at=10**6, epoch=epoch, instance=InstanceId("s"), incarnation="i", schema_level=1
        )
        await self._append(session.log, None, started)
        await session.close()

    async def _append(self, log: EventLog, run: RunId | None, entry: ev.Entry) -> None:
        event = Event(id=f"{id(entry)}", source="test", kind=type(entry), lane=None, run=run, entries=(entry,))
        await log.append([Outgoing(event.subject, encode_event(event), os.urandom(8).hex())])

    async def start(self) -> tuple[State, list[Recorded]]:
        """What a scheduler that starts now knows, and the messages it read."""
        session = await open_session(self.broker.url, user="scheduler", password=self.broker.password)
        found = await begin(session.log, session.blobs, await last_archived(session.log))
        reader = await session.log.read(after=found.seq)
        messages: list[Recorded] = []
        while not reader.caught_up:
            messages += await reader.next(2)
        for recorded in messages:
            fold_message(found.state, recorded.seq, recorded.subject, recorded.data)
        await reader.close()
        await session.close()
        return found.state, messages

    async def view(self) -> list[Recorded]:
        connection = await connect(self.broker.url, user="bootstrap", password=self.broker.password)
        assert await wait_for_mirror(connection)
        await connection.close()
        session = await open_session(self.broker.url, user="viewer", password=self.broker.password)
        reader = await session.view.read()
        messages: list[Recorded] = []
        while not reader.caught_up:
            messages += await reader.next(2)
        await session.close()
        return messages


@pytest.fixture
async def archive(broker: Any, own_environment: dict[str, str], tmp_path: Path) -> Archive:
    archive = Archive(broker, own_environment, tmp_path)
    await archive.write(range(1, 6), epoch=1)
    return archive


def folded(messages: list[Recorded]) -> State:
    state = State()
    for recorded in messages:
        fold_message(state, recorded.seq, recorded.subject, recorded.data)
    return state


async def test_the_log_gets_shorter_and_whoever_starts_knows_the_same(archive: Archive) -> None:
    before, messages = await archive.start()
    said = await archive.call("-o", "kept")
    assert "sequences 1 to 10 of 11 can leave the log; the scheduler's epoch began there" in said
    assert digest((await archive.start())[0]) == digest(before), "a look changes nothing"
    said = await archive.call("-o", "kept", "--yes")
    assert "sequences 1 to 10 of 11 left the log" in said
    after, rest = await archive.start()
    assert [recorded.seq for recorded in rest] == [11, 12]
    viewed = await archive.view()
    assert [recorded.seq for recorded in viewed] == list(range(1, 13)), "viewers keep what was archived"
    assert digest(after) == digest(folded(viewed)) == digest(folded([*messages, rest[-1]]))
    assert "nothing can leave the log, which ends at sequence 12" in await archive.call("-o", "kept", "--yes")
    await archive.write(range(6, 8), epoch=2)
    assert "sequences 11 to 16 of 17 left the log" in await archive.call("-o", "kept", "--yes")
    assert len(list((archive.folder / "kept").glob("segment-*.jsonl"))) == 2
    assert digest((await archive.start())[0]) == digest(folded(await archive.view()))


async def test_what_is_recent_stays(archive: Archive) -> None:
    said = await archive.call("-o", "kept", "--before", "1970-01-01T00:00:03+00:00")
    assert "sequences 1 to 4 of 11 can leave the log; what comes after is too recent" in said
    assert "nothing can leave the log" in await archive.call("-o", "kept", "--before", "1960-01-01", "--yes")


async def test_an_audit_of_an_archived_log_is_fine(archive: Archive) -> None:
    await archive.call("-o", "kept", "--yes")
    environment = {**archive.environment, "PTO_USER": "viewer"}
    process = await asyncio.create_subprocess_exec(
        ORCHESTRATOR,
        "audit",
        "--nats-url",
        archive.broker.url,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    found = json.loads(said)
    assert (found["sequence"], found["digest"]) == (12, digest((await archive.start())[0]))


async def test_only_the_archiver_archives(archive: Archive) -> None:
    said = await archive.call("-o", "kept", "--yes", code=3, PTO_USER="requester")
    assert said.startswith("orchestrator: ")
    assert len((await archive.start())[1]) == 11


async def test_wrong_use_of_a_broker_is_told(archive: Archive) -> None:
    assert "needs -o FOLDER" in await archive.call(code=2)
    assert "neither a number of days nor a date" in await archive.call("-o", "x", "--before", "soon", code=2)


# --- runs of this machine --------------------------------------------------------------------------------------------


def test_blobs_that_no_kept_run_names_are_removed(tmp_path: Path, own_environment: dict[str, str]) -> None:
    def call(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [ORCHESTRATOR, *words], cwd=tmp_path, env=own_environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    for name in ("one", "two"):
        plan = f"name: {name}\ntasks:\n- {{id: a, command: 'echo {name} > {name}.txt'}}\n"
        (tmp_path / "plan.yaml").write_text(plan)
        call("--plan", "plan.yaml", "-q")
    home = tmp_path / "state" / "parallel-orchestrator"
    one, two = sorted(path.name for path in (home / "runs").iterdir())

    def blobs() -> list[Path]:
        return [path for path in (home / "blobs").rglob("*") if path.is_file()]

    assert "0 blobs that nobody names" in call("archive", "--before", "1", "--blobs", "--yes")
    for path in blobs():
        os.utime(path, (1, 1))
    count = len(blobs())
    assert "0 blobs that nobody names" in call("archive", "--before", "1", "--blobs", "--yes")
    for path in blobs():
        os.utime(path, (1, 1))
    os.utime(home / "runs" / one / "run.json", (1, 1))
    assert "0 blobs that nobody names" not in call("archive", "--before", "1", "--blobs")
    assert len(blobs()) == count
    call("archive", "--before", "1", "--blobs", "--yes")
    assert 0 < len(blobs()) < count
    call("audit", two, "--blobs")
    call("fetch", two, "-o", "again")
    assert (tmp_path / "again" / "data" / "two.txt").exists() or list((tmp_path / "again").rglob("two.txt"))


def test_old_runs_of_this_machine_are_removed_when_asked_for_twice(
    tmp_path: Path, own_environment: dict[str, str]
) -> None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ORCHESTRATOR, *words], cwd=tmp_path, env=own_environment, capture_output=True, text=True, timeout=60
        )

    (tmp_path / "plan.yaml").write_text("name: One\ntasks:\n- {id: a, noop: true}\n")
    assert call("--plan", "plan.yaml", "-q").returncode == 0
    folder = tmp_path / "state" / "parallel-orchestrator" / "runs"
    (run,) = folder.iterdir()
    leftover = folder / ".removed-other"
    leftover.mkdir()
    assert "nothing is old enough" in call("archive", "--before", "1").stdout
    said = call("archive", "--before", "0")
    assert f"{run.name}  " in said.stdout
    assert "1 ended runs would be removed" in said.stdout
    assert run.exists()
    with (run / "store" / ".lock").open("r") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_SH)
        said = call("archive", "--before", "0", "--yes")
    assert "kept: another command uses it" in said.stdout or "nothing is old enough" in said.stdout
    assert run.exists()
    assert "1 ended runs removed" in call("archive", "--before", "0", "--yes").stdout
    assert list(folder.iterdir()) == []
    assert (tmp_path / "outputs").exists()
    assert call("archive").returncode == 2
    assert call("archive", "--before", "0", "-o", "x").returncode == 2
