"""Three servers with every stream three times, on the shipped configuration: the leader is killed during a run."""

import asyncio
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.ports import free_port

from pto_bus.connect import ApiError, Connection
from pto_bus.errors import BusError
from pto_bus.topology import Sizes
from pto_ports.event_log import LogUnavailable

from .processes import SERVICES, Processes
from .servers import Keyed, Server, accounts_in, make_certificates

TASKS = int(os.environ.get("PTO_CLUSTER_TASKS", "400"))
LOOKS = 20
STREAMS = ("PTO", "PTO_REQ", "PTO_VIEW", "PTO_BLOB", "PTO_LEASE")


class Cluster(Keyed):
    """Three servers; whoever connects is given all their addresses."""

    def __init__(self, folder: Path) -> None:
        make_certificates(folder / "tls")
        accounts = accounts_in(folder / "accounts")
        ports = {f"n{number}": free_port() for number in (1, 2, 3)}
        routes = ", ".join(f"nats-route://127.0.0.1:{port}" for port in ports.values())
        self.servers = {
            name: Server(
                folder / name, "cluster.conf", tls=folder / "tls", users=accounts, name=name,
                NATS_CLUSTER=f"127.0.0.1:{port}", NATS_ROUTES=f"[{routes}]",
            )
            for name, port in ports.items()
        }  # fmt: skip
        super().__init__(self.servers["n1"], accounts)

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers.values())


async def set_up(cluster: Cluster) -> None:
    """As ``orchestrator bootstrap --replicas 3``, once the servers have found each other."""
    async with asyncio.timeout(40):
        while True:
            with suppress(ApiError, BusError, LogUnavailable):
                await cluster.set_up(Sizes(replicas=3))
                return
            await asyncio.sleep(0.3)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    running = Cluster(tmp_path)
    for server in running.servers.values():
        server.start()
    await set_up(running)
    yield running
    for server in running.servers.values():
        server.end(signal.SIGKILL)


async def info_of(connection: Connection, stream: str) -> dict[str, Any]:
    """What the cluster says of a stream, as soon as that has a leader who can say it."""
    async with asyncio.timeout(30):
        while True:
            with suppress(LogUnavailable, ApiError):
                return await connection.api(f"STREAM.INFO.{stream}", timeout_s=2)
            await asyncio.sleep(0.2)


async def leader_of(connection: Connection, *, but: str = "") -> str:
    """Name of the server that leads the log."""
    async with asyncio.timeout(30):
        while True:
            leader = (await info_of(connection, "PTO")).get("cluster", {}).get("leader", but)
            if leader != but:
                return str(leader)
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_a_run_loses_and_doubles_nothing_when_the_leader_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    bootstrapper = await cluster.connect("bootstrap")
    for stream in STREAMS:
        assert (await info_of(bootstrapper, stream))["config"]["num_replicas"] == 3
    ran = tmp_path / "ran"  # outside of all workspaces: what was started twice is seen, whatever the log says
    tasks = [{"id": f"t{i}", "command": f"sleep 0.05; echo t{i} >> '{ran}'; echo > done"} for i in range(TASKS)]
    plan = {"name": "many", "tasks": tasks}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    processes = Processes(tmp_path, cluster)
    try:
        for service in SERVICES:
            processes.start(service)
        processes.wait_until_up()
        processes.start("scheduler", user="scheduler-2")
        run = processes.orchestrator(
            "run", "--plan", "plan.json", "-m", "8", "--on-conflict", "keep-both", "--detach"
        ).split()[-1]
        watch = processes.command("watch", run)
        assert watch.stdout is not None
        async with asyncio.timeout(60):  # who begins to watch while there is no leader is told so
            assert await asyncio.to_thread(watch.stdout.readline), processes.end_of(watch)
        watching = asyncio.create_task(asyncio.to_thread(processes.end_of, watch, timeout_s=120 + TASKS / 4))
        for _ in range(2):
            await asyncio.sleep(3)
            leader = await leader_of(bootstrapper)
            cluster.servers[leader].end(signal.SIGKILL)
            await leader_of(bootstrapper, but=leader)
            await asyncio.sleep(1)
            cluster.servers[leader].start()
        await watching
        for _ in range(LOOKS):  # a server that has just come back may show less than the others for a while
            events = [json.loads(line) for line in processes.orchestrator("events", run, "--json").splitlines()]
            if events[-1]["type"].startswith("pto.RunFinished."):
                break
            await asyncio.sleep(1)
        processes.orchestrator("audit")
    finally:
        processes.close()
        await bootstrapper.close()
    ended = Counter(
        (entry["task"], entry["attempt"])
        for event in events
        if event["type"].startswith("pto.TaskFinished.")
        for entry in event["data"]["entries"]
        if entry["task"].startswith("t") and entry["outcome"] == "succeeded"
    )
    assert {task for task, _ in ended} == {f"t{i}" for i in range(TASKS)}
    assert len(ended) == TASKS
    started = Counter(ran.read_text().split())
    print(f"{TASKS} tasks, lost {TASKS - len(started)}, doubled {started.total() - len(started)}")
    assert started == {f"t{i}": 1 for i in range(TASKS)}
    finished = next(event for event in events if event["type"].startswith("pto.RunFinished."))
    assert finished["data"]["entries"][0]["status"] == "succeeded"


@pytest.mark.slow
async def test_copies_of_all_stores_of_one_moment_are_restored_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("tasks: [{id: a, command: sleep 3; echo 1 > one}]")
    processes = Processes(tmp_path, cluster)
    there = Cluster(tmp_path / "there")
    try:
        for service in SERVICES:
            processes.start(service)
        processes.wait_until_up()
        run = processes.orchestrator("run", "--plan", "plan.yaml", "--detach").split()[-1]
        for server in cluster.servers.values():
            server.end()
        for name, server in cluster.servers.items():
            shutil.copytree(server.folder / "store", there.servers[name].folder / "store")
        processes.close()
        for server in there.servers.values():
            server.start()
        await set_up(there)
        (tmp_path / "elsewhere").mkdir()
        processes = Processes(tmp_path / "elsewhere", there)
        for service in SERVICES:
            processes.start(service)
        processes.wait_until_up()
        processes.orchestrator("watch", run)
        assert "all is well" in processes.orchestrator("audit", "--blobs")
    finally:
        processes.close()
        for server in there.servers.values():
            server.end(signal.SIGKILL)
