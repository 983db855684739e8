"""The backend around its containers: what it leaves, what it removes, and what comes of words that come late."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orders import DEFAULTS, order
from pto_attempts.assignment import describe
from pto_attempts.materials import Materials
from pto_attempts.outcome import Outcomes
from pto_attempts.polling import LoopPoller
from pto_dispatcher_docker.agent import prepare
from pto_dispatcher_docker.attempt import Means
from pto_dispatcher_docker.backend import DockerBackend
from pto_dispatcher_docker.body import OWNER, name_of
from pto_dispatcher_docker.daemon import DaemonAway, NameTaken, NoContainer, Seen
from pto_dispatcher_docker.private import PrivateFiles
from pto_dispatcher_docker.room import Rooms
from pto_dispatcher_docker.site import Site
from pto_memory import MemoryBlobStore
from pto_planning.backend import PlannerBackend
from pto_ports.backend import Order
from pto_ports.clock import Clock
from pto_ports.engine import EngineVariables
from pto_proto import events as ev
from pto_proto.ids import InstanceId
from pto_proto.plans import Resources
from pto_runtime.clock import SystemClock

OURS = "d-1.here"


class Engine:
    """Containers that run until they are told to end; ``programs``: what a command does to its workspace at once."""

    socket = "/nowhere.sock"

    def __init__(self, programs: Mapping[str, Callable[[Path], None]] | None = None) -> None:
        self.programs = programs or {}
        self.states: dict[str, str] = {}
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.started: list[str] = []
        self.changed = asyncio.Event()
        self.at_stop: Callable[[str], None] = lambda name: None
        self.looks = 0
        self.is_away = False
        self.removal = asyncio.Event()
        """Removing waits for it."""
        self.removal.set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        if name in self.states:
            raise NameTaken(409, "already in use")
        self.bodies[name] = body
        self._set(name, "created")
        return name

    async def start(self, container: str) -> None:
        self.started.append(container)
        body = self.bodies[container]
        program = self.programs.get(body["Cmd"][-1])
        if program is not None:
            program(Path(body["HostConfig"]["Mounts"][0]["Source"]))
        self._set(container, "running" if program is None else "exited")

    async def stop(self, container: str, grace_s: int) -> None:
        self.at_stop(container)
        self._set(container, "exited")

    async def remove(self, container: str) -> None:
        await self.removal.wait()
        self.states.pop(container, None)
        self._set("", "")

    async def inspect(self, container: str) -> Seen:
        self._answer()
        if container not in self.states:
            raise NoContainer(404, "no such container")
        labels = self.bodies[container]["Labels"]
        return Seen(id=container, name=container, labels=labels, status=self.states[container], started_ms=1)

    async def labelled(self, label: str, value: str) -> list[Seen]:
        self.looks += 1
        self._answer()
        return [seen for name in list(self.states) if (seen := await self.inspect(name)).labels[label] == value]

    async def wait(self, container: str) -> None:
        await self.until(lambda: self.states.get(container) != "running")

    async def follow(self, container: str, feed: Callable[[str, bytes], None], since_s: float = 0.0) -> None:
        await self.wait(container)

    async def told_of(self, container: str, since_ms: int, until_ms: int) -> frozenset[str]:
        return frozenset()

    def _answer(self) -> None:
        if self.is_away:
            raise DaemonAway("refused")

    def _set(self, name: str, state: str) -> None:
        if name:
            self.states[name] = state
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await self.changed.wait()


class Bench:
    """Incarnations of one dispatcher on one engine."""

    def __init__(self, folder: Path, engine: Engine, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()
        self.engine = engine
        self.blobs = MemoryBlobStore()
        self.reported: list[ev.Entry] = []
        self.private = PrivateFiles(OURS, (os.getuid(), os.getgid()), folder)

    async def backend(self, *, leaves_running: bool = True) -> DockerBackend:
        clock, instance = self.clock, InstanceId("d-1")
        site = Site(
            daemon=self.engine, clock=clock, owner=OURS, user=(os.getuid(), os.getgid()), defaults=DEFAULTS,  # type: ignore[arg-type]
            rooms=Rooms(clock, 2**30), private=self.private,
        )  # fmt: skip
        means = Means(
            site, Materials(self.blobs, self.folder / "cache"), Outcomes(self.blobs, clock, instance),
            lambda engine, model: EngineVariables({}, ()), LoopPoller(4), lambda run: self.folder / run, {"TOKEN": "canary-0123456789"}, None,
        )  # fmt: skip
        planner = PlannerBackend(log=None, blobs=self.blobs, clock=clock, instance=instance, engines={})  # type: ignore[arg-type]
        made = DockerBackend(
            means=means, planner=planner, engines=("simulated",), missing={}, leaves_running=leaves_running
        )
        await made.open(self.report, lambda order, stream, text: None)
        return made

    def report(self, order: Order, *entries: ev.Entry) -> None:
        self.reported += entries
        self.engine.changed.set()
        self.engine.changed = asyncio.Event()

    @property
    def ends(self) -> list[ev.TaskFinished]:
        return [entry for entry in self.reported if isinstance(entry, ev.TaskFinished)]

    def left(self) -> list[str]:
        """Beside the workspaces."""
        return sorted(path.name for path in self.folder.glob("run-one/executor_*/.*"))


class FastClock(SystemClock):
    """Sleeps a thousandth of what it is told."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


def write(text: str) -> Callable[[Path], None]:
    return lambda workspace: (workspace / "out.txt").write_text(text) and None


async def test_leaving_nothing_behind_covers_checks_and_deletions_under_way(tmp_path: Path) -> None:
    engine = Engine({"make": write("good")})
    bench = Bench(tmp_path, engine)
    backend = await bench.backend(leaves_running=False)
    checked, done = order(command="make", checks=("sleep",)), order(command="make", task="done")
    await backend.start(checked)
    await engine.until(lambda: engine.states.get(name_of(checked) + "-check-1") == "running")
    await backend.start(done)
    await engine.until(lambda: bench.ends)
    engine.removal.clear()
    backend.forget(done)
    asyncio.get_running_loop().call_later(0.1, engine.removal.set)
    await backend.close()
    assert not engine.states


async def test_variables_stay_for_a_container_that_goes_on(tmp_path: Path) -> None:
    engine = Engine()
    bench = Bench(tmp_path, engine)
    backend = await bench.backend()
    await backend.start(ready := order(command="sleep", env=("TOKEN",)))
    await engine.until(lambda: engine.started)
    await backend.close()
    (private,) = [
        Path(mount["Source"]) for mount in engine.bodies[name_of(ready)]["HostConfig"]["Mounts"] if mount["ReadOnly"]
    ]
    assert "TOKEN" in (private / "variables.sh").read_text()
    following = await bench.backend(leaves_running=False)
    assert await following.adopt(ready)
    await following.stop(ready, "enough")
    await engine.until(lambda: bench.ends)
    assert not private.exists()
    await following.close()


async def test_outputs_are_those_of_before_the_checks_when_the_end_was_lost(tmp_path: Path) -> None:
    engine = Engine({"make": write("good"), "spoil": write("spoiled")})
    bench = Bench(tmp_path, engine)
    backend = await bench.backend()
    await backend.start(ready := order(command="make", checks=("spoil",)))
    await engine.until(lambda: bench.ends)
    await backend.close()  # before its end was in the log
    following = await bench.backend()
    assert await following.adopt(ready)
    await engine.until(lambda: len(bench.ends) == 2)
    assert [end.outcome for end in bench.ends] == ["succeeded", "succeeded"]
    assert bench.ends[0].manifest == bench.ends[1].manifest
    assert engine.started.count(name_of(ready)) == 1
    following.forget(ready)
    await engine.until(lambda: not engine.states)
    await following.close()


async def test_what_was_free_when_it_started_counts_and_not_what_its_work_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    bench = Bench(tmp_path, engine, FastClock())
    backend = await bench.backend()
    await backend.start(ready := order(command="sleep"))
    await engine.until(lambda: engine.started)
    (tmp_path / "run-one/executor_3/build.1/big").write_bytes(bytes(10_000))
    await backend.close()
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=5_000))
    following = await bench.backend(leaves_running=False)
    assert await following.adopt(ready)
    await asyncio.sleep(0.3)  # hundreds of looks on this clock
    assert not bench.ends
    await following.close()


async def test_an_end_that_comes_late_ends_the_work_at_what_was_adopted(tmp_path: Path) -> None:
    engine = Engine({"make": write("good")})
    bench = Bench(tmp_path, engine)
    backend = await bench.backend()
    await backend.start(ready := order(command="make", checks=("sleep",)))
    await engine.until(lambda: engine.states.get(name_of(ready) + "-check-1") == "running")
    await backend.close()
    following = await bench.backend()
    assert await following.adopt(ready)
    await engine.until(lambda: engine.started.count(name_of(ready) + "-check-1") == 2)
    following.forget(ready)
    await engine.until(lambda: not engine.states)
    assert not await following.stop(ready, "enough"), "nothing works at it any more"
    async with asyncio.timeout(20):
        while bench.left():  # noqa: ASYNC110 - nobody tells when an errand has removed the last of it
            await asyncio.sleep(0.01)
    assert not bench.ends
    await following.close()


async def test_what_was_cancelled_while_nobody_was_there_is_not_started_any_more(tmp_path: Path) -> None:
    engine = Engine()
    bench = Bench(tmp_path, engine)
    ready = order(command="sleep")
    labels = {OWNER: OURS, "pto.run": "run-one", "pto.task": "build", "pto.round": "0", "pto.attempt": "1", "pto.part": "work"}  # fmt: skip
    await engine.create(name_of(ready), {"Labels": labels})
    backend = await bench.backend()
    assert await backend.adopt(ready)
    await backend.stop(ready, "enough")
    await engine.until(lambda: bench.ends)
    assert (bench.ends[0].outcome, engine.started) == ("cancelled", [])
    await backend.close()


async def test_a_container_of_another_system_is_left_alone_though_it_has_the_name(tmp_path: Path) -> None:
    engine = Engine()
    bench = Bench(tmp_path, engine)
    ready = order(command="sleep")
    await engine.create(name_of(ready), {"Labels": {OWNER: "d-1.elsewhere"}})
    backend = await bench.backend(leaves_running=False)
    await backend.start(ready)
    await engine.until(lambda: bench.ends)
    assert bench.ends[0].failure == "config"
    backend.forget(ready)
    await backend.close()
    assert engine.states == {name_of(ready): "created"}


async def test_containers_can_read_their_job_whatever_the_umask_of_the_dispatcher(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text("{}")
    site = Site(
        daemon=None, clock=SystemClock(), owner=OURS, user=(os.getuid(), os.getgid()), defaults=DEFAULTS,  # type: ignore[arg-type]
        rooms=Rooms(SystemClock(), 2**30), private=PrivateFiles(OURS, (os.getuid(), os.getgid()), tmp_path),
    )  # fmt: skip
    before = os.umask(0o077)
    try:
        blob = tmp_path / "blob"
        blob.write_text("input")
        made = prepare(
            site, ready := order(agent="write"), describe(ready, tmp_path / "work", {}, ""),
            [{"path": "a", "source": str(blob)}], prices,
        )  # fmt: skip
    finally:
        os.umask(before)
    found = [made.places.job, *made.places.job.rglob("*")]
    assert len(found) == 5
    closed = [path for path in found if not path.stat().st_mode & (0o005 if path.is_dir() else 0o004)]
    # What the container's user owns needs no opening.
    assert not [path for path in closed if path.stat().st_ino != blob.stat().st_ino]


async def test_an_agent_that_was_stopped_for_its_time_was_not_cancelled(tmp_path: Path) -> None:
    engine = Engine()
    bench = Bench(tmp_path, engine, FastClock())

    def answer(name: str) -> None:
        folder = Path(engine.bodies[name]["HostConfig"]["Mounts"][2]["Source"])
        (folder / "answer.json").write_text('{"result": {"outcome": "cancelled", "failure": "cancelled"}}')

    engine.at_stop = answer
    backend = await bench.backend(leaves_running=False)
    await backend.start(order(agent="write", resources=Resources(time="10")))
    await engine.until(lambda: bench.ends)
    assert (bench.ends[0].outcome, bench.ends[0].failure) == ("failed", "timeout")
    await backend.close()


async def test_a_daemon_that_is_away_is_asked_once_for_all_that_is_to_be_adopted(tmp_path: Path) -> None:
    engine = Engine()
    bench = Bench(tmp_path, engine, FastClock())
    engine.is_away = True
    backend = await bench.backend()
    orders = [order(command="sleep", task=f"t{number}") for number in range(3)]
    assert [await backend.adopt(one) for one in orders] == [True, True, True]
    assert engine.looks == 1
    engine.is_away = False
    await engine.until(lambda: len(bench.ends) == 3)
    assert {end.failure for end in bench.ends} == {"infra"}, "they were not there"
    await backend.close()
