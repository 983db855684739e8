"""What each account may do, tried against a real broker: everything that is not its own is refused.

The broker runs the shipped configuration: TLS, and a credentials file for each account.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest
from tests.deploy.servers import Keyed, Server, accounts_in, make_certificates

from pto_bus.connect import Connection
from pto_bus.errors import NotAllowed
from pto_bus.event_log import NatsEventLog
from pto_bus.live import LiveChannel
from pto_bus.mirror import wait_for_mirror
from pto_bus.request_queue import NatsRequestQueue
from pto_bus.topology import Account
from pto_ports.event_log import Outgoing
from pto_proto.events import EVENTS, WRITERS
from pto_proto.ids import Lane
from pto_proto.subjects import EPOCH_SUBJECT, event_subject

ConnectAs = Callable[[str], Awaitable[Connection]]

SERVICES = ["scheduler", "planner", "consolidator", "dispatcher-local", "archiver"]
OUTSIDERS = ["operator", "requester", "viewer"]
OWN_LANE = {"planner": "planner", "consolidator": "consolidator", "dispatcher-local": "local"}
STREAMS = ["PTO", "PTO_REQ", "PTO_VIEW", "PTO_BLOB", "PTO_LEASE"]
RUN_SUBJECT = "pto.run-accepted._.run-0001"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    return folder


@pytest.fixture
async def broker(tmp_path: Path, tls: Path) -> AsyncIterator[Keyed]:
    other = Account(user="other-requester", role="requester")
    accounts = accounts_in(tmp_path / "accounts", more=(other,))
    running = Keyed(Server(tmp_path / "broker", "server.conf", tls=tls, users=accounts).start(), accounts)
    await running.set_up()
    yield running
    running.server.end(signal.SIGKILL)  # an orderly end takes longer, for a store that is thrown away


@pytest.fixture
async def connect_as(broker: Keyed) -> AsyncIterator[ConnectAs]:
    opened: list[Connection] = []

    async def connect_one(user: str) -> Connection:
        opened.append(await broker.connect(user))
        return opened[-1]

    yield connect_one
    for connection in opened:
        await connection.close()


async def refusals(broker: Keyed, user: str, publish: list[str], subscribe: list[str]) -> set[str]:
    """Which of these the broker refuses, by a plain client so that one refusal does not end the connection."""
    refused: set[str] = set()

    async def on_error(error: Exception) -> None:
        refused.add(str(error).split('"')[1] if '"' in str(error) else str(error))

    client = await nats.connect(broker.url, error_cb=on_error, inbox_prefix=f"_INBOX_{user}", **broker.options(user))
    for subject in publish:
        await client.publish(subject, b"{}")
    for subject in subscribe:
        await client.subscribe(subject)
    await client.flush()
    await asyncio.sleep(0.05)
    await client.close()
    return {subject for subject in [*publish, *subscribe] if subject.lower() in refused}


def every_event_subject() -> dict[str, tuple[type, str | None]]:
    lanes = [None, "local", "planner", "consolidator", "docker"]
    return {
        event_subject(kind, None if lane is None else Lane(lane), None): (kind, lane)
        for kind in EVENTS
        for lane in lanes
    }


@pytest.mark.parametrize("user", [*SERVICES, *OUTSIDERS, "bootstrap"])
async def test_each_account_writes_only_its_own_events_in_its_own_lane(broker: Keyed, user: str) -> None:
    subjects = every_event_subject()
    if user in OWN_LANE:
        role = "dispatcher" if user.startswith("dispatcher") else user
        kinds = WRITERS["dispatcher"] + WRITERS[role]
        own = {subject for subject, (kind, lane) in subjects.items() if kind in kinds and lane == OWN_LANE[user]}
    else:
        lanes = [None] if user == "archiver" else [lane for _, lane in subjects.values()]
        own = {subject for subject, (kind, lane) in subjects.items() if kind in WRITERS.get(user, ()) and lane in lanes}
    assert await refusals(broker, user, sorted(subjects), []) == set(subjects) - own


@pytest.mark.parametrize("user", [*SERVICES, *OUTSIDERS])
async def test_nobody_but_bootstrap_manages_streams_and_consumers(broker: Keyed, user: str) -> None:
    verbs = ["CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN"]
    subjects = [f"$JS.API.STREAM.{verb}.{stream}" for verb in verbs for stream in STREAMS]
    subjects += [f"$JS.API.CONSUMER.{verb}.PTO.anything" for verb in ("CREATE", "DELETE", "PAUSE", "UNPIN")]
    subjects += ["$JS.API.CONSUMER.DURABLE.CREATE.PTO.anything", "$JS.API.CONSUMER.CREATE.PTO"]
    subjects += ["$JS.API.CONSUMER.CREATE.PTO_REQ.anything", "$JS.API.CONSUMER.CREATE.PTO_BLOB.anything.pto-blob.x.0"]
    subjects += ["$JS.API.ACCOUNT.PURGE.$G", "$SYS.REQ.SERVER.PING", "$JS.API.SERVER.REMOVE"]
    may = {f"$JS.API.STREAM.PURGE.{stream}" for stream in ("PTO", "PTO_REQ", "PTO_BLOB")}
    assert await refusals(broker, user, subjects, []) == set(subjects) - (may if user == "archiver" else set())


@pytest.mark.parametrize("user", [*SERVICES, *OUTSIDERS])
async def test_nobody_touches_the_consumers_of_others(broker: Keyed, user: str) -> None:
    names = [name for name in SERVICES if name != user] + [f"{name}_lane" for name in OWN_LANE if name != user]
    verbs = ["MSG.NEXT", "RESET", "INFO", "DELETE", "CREATE"]
    subjects = [f"$JS.API.CONSUMER.{verb}.PTO.{name}" for verb in verbs for name in names]
    subjects += [f"$JS.API.CONSUMER.{verb}.PTO_REQ.scheduler" for verb in verbs] if user != "scheduler" else []
    subjects += [f"$JS.ACK.PTO.{name}.1.1.1.1.0" for name in names]
    assert await refusals(broker, user, subjects, []) == set(subjects)


@pytest.mark.parametrize("user", [*SERVICES, *OUTSIDERS])
async def test_nobody_listens_beside_the_log_or_answers_for_the_broker(broker: Keyed, user: str) -> None:
    listen = [">", "pto.>", "pto.req.>", "pto-blob.>", "$JS.>", "$SYS.>", "_INBOX.>", "_INBOX_bootstrap.>"]
    answer = ["_INBOX_bootstrap.x.1", f"_INBOX_{user}.x.1"]
    assert await refusals(broker, user, answer, listen) == {*listen, *answer}


@pytest.mark.parametrize("user", OUTSIDERS)
async def test_outsiders_cannot_touch_the_log(broker: Keyed, user: str) -> None:
    verbs = ["STREAM.INFO", "DIRECT.GET", "STREAM.MSG.GET", "CONSUMER.LIST", "CONSUMER.NAMES"]
    subjects = [f"$JS.API.{verb}.{stream}" for verb in verbs for stream in ("PTO", "PTO_REQ")]
    subjects += [RUN_SUBJECT, "pto-live.log.local.run-0001"]
    assert await refusals(broker, user, subjects, []) == set(subjects)


async def test_requester_asks_only_under_its_own_name(broker: Keyed) -> None:
    names = ("requester", "other-requester", "scheduler", "operator", "operator-2")
    subjects = [f"pto.req.run-requested.{name}" for name in names]
    assert await refusals(broker, "requester", subjects, []) == set(subjects[1:])
    assert await refusals(broker, "operator", subjects, []) == {*subjects} - {subjects[3]}
    assert await refusals(broker, "viewer", subjects, []) == set(subjects)
    assert await refusals(broker, "planner", subjects, []) == set(subjects)


async def test_viewer_has_no_blobs(broker: Keyed) -> None:
    subjects = ["pto-blob.abc.0", "$JS.API.DIRECT.GET.PTO_BLOB", "$JS.API.STREAM.INFO.PTO_BLOB"]
    assert await refusals(broker, "viewer", subjects, []) == set(subjects)
    assert await refusals(broker, "requester", subjects, []) == set()


async def test_dispatcher_sends_live_lines_of_its_own_lane_only(broker: Keyed) -> None:
    subjects = ["pto-live.log.local.run-0001", "pto-live.log.docker.run-0001"]
    assert await refusals(broker, "dispatcher-local", subjects, []) == {subjects[1]}


@pytest.mark.parametrize("user", [*SERVICES, *OUTSIDERS])
async def test_outsiders_ask_for_states_and_schedulers_alone_show_them(broker: Keyed, user: str) -> None:
    ask, show = "pto-live.audit._._", "pto-live.state._._"
    tells = {"scheduler": {show}, **{outsider: {ask} for outsider in OUTSIDERS}}.get(user, set())
    hears = {ask, show} - tells if tells else set()
    assert await refusals(broker, user, [ask, show], []) == {ask, show} - tells
    assert await refusals(broker, user, [], [ask, show]) == {ask, show} - hears


@pytest.mark.parametrize(
    "target",
    [
        "pto.task-finished.local.run-0001",
        "pto.req.run-cancel-requested.other-requester",
        "pto-blob.abc.0",
        "pto-live.log.local.run-0001",
        "pto-live.state._._",
        "$JS.API.STREAM.PURGE.PTO",
        "$JS.API.STREAM.DELETE.PTO",
    ],
)
async def test_viewer_cannot_make_the_broker_send_for_it(broker: Keyed, connect_as: ConnectAs, target: str) -> None:
    """A push consumer sends what is stored to a subject of the viewer's choice, with the broker's rights."""
    writer = NatsEventLog(await connect_as("scheduler"))
    heard: list[str] = []
    await LiveChannel(await connect_as("requester")).listen(
        "pto-live.log.*.*", lambda subject, _: heard.append(subject)
    )
    await writer.append([Outgoing(RUN_SUBJECT, b"x", "1")])
    viewer, bootstrapper = await connect_as("viewer"), await connect_as("bootstrap")
    config = {"name": "evil", "deliver_subject": target, "ack_policy": "none", "deliver_policy": "all"}
    request = json.dumps({"stream_name": "PTO_VIEW", "config": config}).encode()
    await viewer.ask("$JS.API.CONSUMER.CREATE.PTO_VIEW.evil", request)
    await writer.append([Outgoing(RUN_SUBJECT, b"y", "2")])
    assert await wait_for_mirror(bootstrapper)
    await asyncio.sleep(0.2)
    assert heard == []
    counts = {stream: (await bootstrapper.api(f"STREAM.INFO.{stream}"))["state"]["messages"] for stream in STREAMS}
    assert counts == {"PTO": 2, "PTO_REQ": 0, "PTO_VIEW": 2, "PTO_BLOB": 0, "PTO_LEASE": 0}


@pytest.mark.parametrize("user", [*SERVICES, *OUTSIDERS])
async def test_nobody_has_the_broker_answer_to_others(broker: Keyed, connect_as: ConnectAs, user: str) -> None:
    """The broker lets anybody name any subject as where its answer goes; that of a direct get is what was stored."""
    targets = [
        RUN_SUBJECT, EPOCH_SUBJECT, "pto.task-finished.docker.run-0001", "pto.req.run-cancel-requested.operator-2",
        "pto-blob.forged.1", "pto-lease.other", "$JS.API.STREAM.PURGE.PTO_BLOB", "$JS.API.STREAM.DELETE.PTO_REQ",
        "pto-live.heartbeat.docker._", "pto-live.log.docker.run-0001", "_INBOX_scheduler-2.x.1",
    ]  # fmt: skip
    await NatsEventLog(await connect_as("scheduler-2")).append([Outgoing(RUN_SUBJECT, b"{}", "")] * 20)
    bootstrapper = await connect_as("bootstrap")
    await wait_for_mirror(bootstrapper)
    heard: list[str] = []
    listeners = [("scheduler-2", "pto-live.heartbeat.*._"), ("scheduler-2", "_INBOX_scheduler-2.>")]
    listeners += [("viewer", "pto-live.log.*.*")] if user in SERVICES else []  # people share a broker account
    for other, pattern in listeners:
        await LiveChannel(await connect_as(other)).listen(pattern, lambda subject, _: heard.append(subject))
    stream, stored = ("PTO_VIEW", 0) if user == "viewer" else ("PTO_BLOB", 1)
    asks = [("pto-blob.forged.0", b"{}")] * stored
    asks += [(f"$JS.API.DIRECT.GET.{stream}", b'{"seq": 1}'), (f"$JS.API.STREAM.INFO.{stream}", b"")]
    pulled = 1 if user in ("scheduler", "archiver") else 0  # others have nothing in their lanes
    asks += [(f"$JS.API.CONSUMER.MSG.NEXT.PTO.{user}", b"1")] * pulled
    client = await nats.connect(broker.url, inbox_prefix=f"_INBOX_{user}", **broker.options(user))
    answers = [(await client.request(*ask, timeout=5, old_style=True)).data for ask in asks]
    assert answers.count(b"{}") == 1 + pulled
    for target in targets:
        for subject, body in asks:
            await client.publish(subject, body, reply=target)
    await client.flush()
    await asyncio.sleep(0.2)
    await client.close()
    counts = {name: (await bootstrapper.api(f"STREAM.INFO.{name}"))["state"]["messages"] for name in STREAMS}
    assert (heard, counts) == ([], {"PTO": 20, "PTO_REQ": 0, "PTO_VIEW": 20, "PTO_BLOB": stored, "PTO_LEASE": 0})


async def test_refused_append_is_an_error_at_once_and_not_a_time_out(connect_as: ConnectAs) -> None:
    connection = await connect_as("planner")
    log = NatsEventLog(connection)
    reader = await log.read(subject="pto.*.planner.*")
    waiting = asyncio.create_task(reader.next(30))
    async with asyncio.timeout(20):
        with pytest.raises(NotAllowed, match="run-accepted"):
            await log.append([Outgoing(RUN_SUBJECT, b"x", "1")])
        with pytest.raises(NotAllowed):
            await waiting
        with pytest.raises(NotAllowed):
            await log.last_seq()


async def test_viewer_follows_the_mirror(connect_as: ConnectAs) -> None:
    log, view = NatsEventLog(await connect_as("scheduler")), NatsEventLog(await connect_as("viewer"), "PTO_VIEW")
    await log.append([Outgoing(RUN_SUBJECT, b"x", "1")])
    reader, filtered = await view.read(), await view.read(subject="pto.*.*.run-0001")
    assert [m.seq for m in await reader.next(2)] == [1]
    assert [m.seq for m in await filtered.next(2)] == [1]
    await log.append([Outgoing("pto.run-accepted._.run-0002", b"y", "2")])
    assert [m.subject for m in await reader.next(2)] == ["pto.run-accepted._.run-0002"]
    assert await filtered.next(0.05) == []


async def test_services_read_their_own_writes_although_the_mirror_answers_too(connect_as: ConnectAs) -> None:
    log = NatsEventLog(await connect_as("scheduler"))
    for number in range(1, 101):
        assert await log.append([Outgoing(RUN_SUBJECT, b"x", f"id{number}")]) == number
        assert len(await log.read_run("pto.*.*.run-0001")) == number
        assert await log.last_seq(RUN_SUBJECT) == number


async def test_requests_are_stored_once_and_read_by_the_scheduler(connect_as: ConnectAs) -> None:
    queue = NatsRequestQueue(await connect_as("requester"))
    subject = "pto.req.run-requested.requester"
    assert await queue.submit(subject, b"ask", "request-1") == 1
    assert await queue.submit(subject, b"ask", "request-1") == 1
    reader = await NatsRequestQueue(await connect_as("scheduler")).read()
    assert [(m.seq, m.data) for m in await reader.next(2)] == [(1, b"ask")]


async def test_live_lines_reach_who_listens(connect_as: ConnectAs) -> None:
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    listener = LiveChannel(await connect_as("viewer"))
    stop = await listener.listen("pto-live.log.*.run-0001", lambda subject, data: heard.put_nowait((subject, data)))
    await (await connect_as("viewer")).client.flush()
    await asyncio.sleep(0.05)
    sender = LiveChannel(await connect_as("dispatcher-local"))
    await sender.send("pto-live.log.local.run-0001", b"line")
    assert await asyncio.wait_for(heard.get(), 2) == ("pto-live.log.local.run-0001", b"line")
    await stop()
