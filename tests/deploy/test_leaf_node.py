"""A leaf node between a dispatcher and the broker, on the shipped configurations: what passes, and what does not."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from tests.fakes.ports import free_port

from pto_bus.accounts import LEAVES, credentials_file
from pto_bus.connect import connect
from pto_bus.errors import NotAllowed
from pto_bus.session import Session, open_session
from pto_bus.topology import Account
from pto_ports.event_log import LogReader, Outgoing, Recorded
from pto_proto.ids import LANE_LOCAL, Lane
from pto_proto.subjects import lane_filter
from pto_runtime.clock import SystemClock
from pto_runtime.reading import patiently

from .processes import Processes
from .servers import Keyed, Server, accounts_in, make_certificates

ELSEWHERE = Lane("docker")
FINISHED = "pto.task-finished.local.run-0001"
RELAY = "relay-here"
INFO = "$JS.API.STREAM.INFO.PTO"
LINKED_S = 20.0


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Keyed]:
    make_certificates(tmp_path / "tls")
    relay = Account(user=RELAY, role="relay", lane=LANE_LOCAL)
    accounts = accounts_in(tmp_path / "accounts", LANE_LOCAL, ELSEWHERE, more=(relay,))
    leaves = free_port()
    variables = {"NATS_LEAVES": f"127.0.0.1:{leaves}", "NATS_HUB": f"[tls://127.0.0.1:{leaves}]"}
    server = Server(tmp_path / "hub", "hub.conf", tls=tmp_path / "tls", users=accounts, **variables).start()
    broker = Keyed(server, accounts)
    await broker.set_up()
    yield broker
    server.end()


@pytest.fixture
async def leaf(hub: Keyed, tmp_path: Path) -> AsyncIterator[Keyed]:
    users = hub.folder / LEAVES / RELAY
    variables = {"NATS_HUB": hub.server.variables["NATS_HUB"]}
    server = Server(tmp_path / "leaf", "leaf.conf", tls=hub.server.tls, users=users, name="leaf", **variables).start()
    server.url = server.url.replace("tls", "nats")
    keyed = Keyed(server, hub.folder)
    try:
        session = await open_local_dispatcher(keyed)
        async with asyncio.timeout(LINKED_S):  # it takes clients before it knows what the broker answers
            await patiently(session.log.last_seq, SystemClock())
        await session.close()
        yield keyed
    finally:
        server.end()


async def open_local_dispatcher(leaf: Keyed) -> Session:
    user = "dispatcher-local"
    return await open_session(leaf.url, user=user, credentials=credentials_file(leaf.folder, user))


async def first(reader: LogReader, count: int) -> list[Recorded]:
    """The next messages, at least so many: they may come one by one."""
    found: list[Recorded] = []
    async with asyncio.timeout(LINKED_S):
        while len(found) < count:
            found += await reader.next(3)
    return found


async def wait_until_linked(client: Client) -> None:
    """Until what dispatchers may ask is answered through a leaf node that has just been started."""
    async with asyncio.timeout(LINKED_S):
        while True:
            with suppress(nats.errors.NoRespondersError, nats.errors.TimeoutError):
                await client.request(INFO, b"", timeout=1)
                return
            await asyncio.sleep(0.05)


async def test_a_dispatcher_behind_a_leaf_node_does_what_it_may_and_no_more(hub: Keyed, leaf: Keyed) -> None:
    session = await open_local_dispatcher(leaf)
    batch = [Outgoing(FINISHED, b"x", "1"), Outgoing(FINISHED, b"y", "2")]
    assert await session.log.append(batch) == 2
    assert await session.log.last_seq() == 2
    assert [message.data for message in await session.log.read_run("pto.*.*.run-0001")] == [b"x", b"y"]
    reader = await session.log.read(subject=lane_filter(LANE_LOCAL))
    assert [message.seq for message in await first(reader, 2)] == [1, 2]
    digest = await session.blobs.put(b"z" * 700_000)
    assert await session.blobs.get(digest) == b"z" * 700_000
    heard: list[bytes] = []
    viewer = await open_session(
        hub.url, user="viewer", credentials=credentials_file(hub.folder, "viewer"), ca=hub.tls.ca
    )
    await viewer.live.listen("pto-live.log.*.*", lambda subject, data: heard.append(data))
    await viewer.connection.client.flush()
    async with asyncio.timeout(5):
        while not heard:  # the subscription takes a moment to reach the leaf node
            await session.live.send("pto-live.log.local.run-0001", b"line")
            await asyncio.sleep(0.05)
    scheduler = await hub.connect("scheduler")
    await viewer.close()
    for subject in (FINISHED.replace("local", "docker"), "pto.run-accepted._.run-0001"):
        own = await open_local_dispatcher(leaf)
        with pytest.raises(NotAllowed):
            await own.log.append([Outgoing(subject, b"x", "")])
        await own.close()
    await scheduler.close()
    await session.close()


async def test_a_leaf_node_lets_in_only_the_dispatchers_of_its_lane(leaf: Keyed) -> None:
    for user in ("dispatcher-docker", "scheduler", "requester", RELAY):
        with pytest.raises(Exception, match="refused user"):
            await connect(leaf.url, user=user, credentials=credentials_file(leaf.folder, user))


async def test_a_stolen_relay_key_does_nothing_but_what_its_dispatchers_may(hub: Keyed, leaf: Keyed) -> None:
    """What can be done with the key by somebody who connects with it: as a client, or as a leaf node of his own."""
    others = [
        f"{api}.{verb}.PTO"
        for api in ("$JS.API", "$JS.pto.API")
        for verb in ("STREAM.DELETE", "STREAM.PURGE", "STREAM.UPDATE", "STREAM.MSG.DELETE", "STREAM.SNAPSHOT")
    ]
    others += ["$JS.API.CONSUMER.DELETE.PTO.scheduler", "$JS.API.CONSUMER.CREATE.PTO.x", "$JS.API.STREAM.CREATE.X"]
    others += ["pto.run-accepted._.run-0001", "pto.task-ready.local.run-0001", "pto.req.run-requested.requester"]
    others += ["pto.scheduler-epoch-started._._", "pto-lease.scheduler", "_INBOX_scheduler.x.1"]
    others += [FINISHED.replace("local", "docker"), "pto-live.heartbeat.docker._", "$JS.API.CONSUMER.LIST.PTO"]
    others += [f"$JS.API.CONSUMER.{verb}.PTO.dispatcher-docker_lane" for verb in ("RESET", "MSG.NEXT", "INFO")]
    refused: set[str] = set()

    async def on_error(error: Exception) -> None:
        refused.add(str(error).split('"')[1])

    client = await nats.connect(hub.url, error_cb=on_error, **hub.options(RELAY))
    for subject in others:
        await client.publish(subject, b"{}")
    await client.flush()
    await asyncio.sleep(0.1)
    assert refused == {subject.replace(".pto.API", ".API").lower() for subject in others}  # the broker maps first
    await client.close()
    leaf.server.end()
    users = leaf.server.folder / "users.conf"
    users.write_text("users: [{user: thief, password: thief}]")  # a leaf node that lets everything pass
    leaf.server.start()
    thief = await nats.connect(leaf.url, user="thief", password="thief", inbox_prefix="_INBOX_dispatcher-local")
    await wait_until_linked(thief)  # from now on silence is a refusal
    for subject in others:
        with pytest.raises((nats.errors.NoRespondersError, nats.errors.TimeoutError)):
            await thief.request(subject, b"{}", timeout=0.3)
    for target in ("pto.run-accepted._.run-0001", FINISHED.replace("local", "docker"), "pto.req.run-requested.eva"):
        await thief.publish(INFO, b"", reply=target)
    assert (await thief.request(INFO, b"", timeout=5)).data
    await thief.close()
    bootstrapper = await hub.connect("bootstrap")
    state = (await bootstrapper.api("STREAM.INFO.PTO"))["state"]
    assert (state["messages"], state["consumer_count"]) == (0, len(hub.consumers))
    assert (await bootstrapper.api("STREAM.INFO.PTO_REQ"))["state"]["messages"] == 0
    await bootstrapper.close()


@pytest.mark.slow
async def test_a_run_goes_on_through_a_leaf_node_that_comes_and_goes(hub: Keyed, leaf: Keyed, tmp_path: Path) -> None:
    plan = {"name": "far", "tasks": [{"id": f"t{i}", "command": f"sleep 0.3; echo {i} > t{i}.txt"} for i in range(20)]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    processes = Processes(tmp_path, hub)
    try:
        for service in ("scheduler", "planner", "consolidator"):
            processes.start(service)
        processes.start("dispatcher-local", broker=leaf, PTO_CA="")
        processes.wait_until_up()
        run = processes.orchestrator("run", "--plan", "plan.json", "-m", "3", "--detach").split()[-1]
        for how in (signal.SIGTERM, signal.SIGKILL):
            await asyncio.sleep(0.7)
            leaf.server.end(how)
            await asyncio.sleep(0.7)
            leaf.server.start()
        await asyncio.to_thread(processes.orchestrator, "watch", run, timeout_s=60)
        processes.orchestrator("fetch", run, "-o", "out")
        summary = json.loads((tmp_path / "out" / "execution_summary.json").read_text())
        assert (summary["status"], summary["counts"]) == ("succeeded", {"succeeded": 20})
        processes.orchestrator("audit")
    finally:
        processes.close()
