"""Reading and writing while the broker is killed, stops, or holds less than it should."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pto_bus.blob_store import NatsBlobStore
from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import Connection, connect
from pto_bus.event_log import NatsEventLog
from pto_bus.topology import Sizes, single_host_accounts
from pto_ports.blob_store import BlobDamaged, StoreFull
from pto_ports.event_log import Fence, LogCorrupt, LogUnavailable, NotSettled, Outgoing, Recorded
from pto_proto.ids import RunId, digest_of
from pto_proto.subjects import VIEW_STREAM, blob_subject, run_filter

ConnectAs = Callable[[str], Awaitable[Connection]]
RUN = "pto.run-accepted._.run-0001"
ONE_RUN = run_filter(RunId("run-0001"))
EPOCH = "pto.scheduler-epoch-started._._"


async def store_surely(log: NatsEventLog, number: int) -> int:
    """What a service does with one unfenced message: the same bytes until there is an acknowledgement."""
    while True:
        try:
            return await log.append([Outgoing(RUN, b"%d" % number, f"id{number}")])
        except (NotSettled, LogUnavailable):
            await asyncio.sleep(0.02)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def _silence(pid: int) -> None:
    """Stop the process; a signal is taken some time after it was sent, and answers still come until then."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)


async def test_messages_stored_each_by_itself_are_all_there_after_kills(broker: Any, connect_as: ConnectAs) -> None:
    log, reader = NatsEventLog(await connect_as("scheduler")), await NatsEventLog(await connect_as("archiver")).read()
    wanted: set[bytes] = set()

    async def write() -> None:
        for number in range(60):
            messages = [Outgoing(RUN, b"%d.%d" % (number, part), f"id{number}.{part}") for part in range(3)]
            wanted.update(message.data for message in messages)
            while True:
                try:
                    await log.append_each(messages)
                    break
                except (NotSettled, LogUnavailable):
                    await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    for _ in range(3):
        await asyncio.sleep(0.1)
        broker.broker.restart(kill=True)
    await writing
    found: list[bytes] = []
    while len(found) < len(wanted):
        found += [recorded.data for recorded in await reader.next(3)]
    assert sorted(found) == sorted(wanted)  # the broker knows the ids of what it has, so nothing is there twice


async def test_nothing_is_lost_when_the_broker_is_killed(broker: Any, connect_as: ConnectAs) -> None:
    log, reader = (
        NatsEventLog(await connect_as("scheduler")),
        await NatsEventLog(await connect_as("archiver")).read(),
    )
    acknowledged: dict[int, int] = {}
    found: list[Recorded] = []
    stop, arrived = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            acknowledged[number] = await store_surely(log, number)
            number += 1

    async def follow() -> None:
        while not writing.done() or len(found) < max(acknowledged.values()):
            news = await reader.next(0.2)
            found.extend(news)
            if news:
                arrived.set()

    writing = asyncio.create_task(write())
    following = asyncio.create_task(follow())
    gaps = []
    for _ in range(3):
        await asyncio.sleep(0.4)
        broker.broker.restart(kill=True)
        started = time.monotonic()
        arrived.clear()
        async with asyncio.timeout(20):
            await arrived.wait()
        gaps.append(time.monotonic() - started)
    await _until(lambda: len(acknowledged) > 100)
    stop.set()
    await asyncio.wait_for(asyncio.gather(writing, following), 20)
    assert max(gaps) < 10, gaps
    assert [m.seq for m in found] == list(range(1, len(found) + 1))
    assert len({m.data for m in found}) == len(found), "stored twice"
    assert {int(m.data): m.seq for m in found} == acknowledged


async def test_what_is_lost_on_its_way_to_a_viewer_comes_again(broker: Any, connect_as: ConnectAs) -> None:
    """As when the server between them ends: for the stream's leader the messages were delivered."""
    log = NatsEventLog(await connect_as("scheduler"))
    reader = await NatsEventLog(await connect_as("viewer"), VIEW_STREAM).read(subject=ONE_RUN)
    take, lost = reader._on_message, list[bytes]()

    async def lose(message: Any) -> None:
        if message.data:
            lost.append(message.data)
        else:
            await take(message)

    reader._on_message = lose  # type: ignore[method-assign]
    await log.append_each([Outgoing(RUN, b"%d" % number, f"id{number}") for number in range(3)])
    async with asyncio.timeout(20):
        while len(lost) < 3:
            assert await reader.next(0.2) == []
        reader._on_message = take  # type: ignore[method-assign]
        found: list[bytes] = []
        while len(found) < 3:
            found += [recorded.data for recorded in await reader.next(1)]
    assert found == [b"0", b"1", b"2"]


async def test_fenced_batches_are_whole_when_the_broker_is_killed(broker: Any, connect_as: ConnectAs) -> None:
    log = NatsEventLog(await connect_as("scheduler"))
    fence = Fence(EPOCH, await log.append([Outgoing(EPOCH, b"one", "epoch")], Fence(EPOCH, 0)))
    stop, decided = asyncio.Event(), 0

    async def write() -> None:
        nonlocal decided
        while not stop.is_set():
            batch = [Outgoing(RUN, b"%d.%d" % (decided, part), f"tick{decided}.{part}") for part in range(20)]
            try:
                await log.append(batch, fence)
            except (NotSettled, LogUnavailable):
                await asyncio.sleep(0.02)
                try:
                    if not any(m.data == b"%d.0" % decided for m in await log.read_run(ONE_RUN)):
                        continue
                except LogUnavailable:
                    continue
            decided += 1

    writing = asyncio.create_task(write())
    for _ in range(3):
        await asyncio.sleep(0.25)
        broker.broker.restart(kill=True)
    settled = decided
    await _until(lambda: decided > max(5, settled))  # what the last kill left open is known by then
    stop.set()
    await asyncio.wait_for(writing, 10)
    stored = [m.data for m in await log.read_run(ONE_RUN)]
    assert stored == [b"%d.%d" % (tick, part) for tick in range(decided) for part in range(20)]


async def test_a_closed_connection_looks_for_no_broker_even_if_it_did_not_hear_of_its_end(
    broker: Any, connect_as: ConnectAs
) -> None:
    connection = await connect_as("scheduler")
    trying = asyncio.Event()

    async def connect_deaf(*_: Any) -> None:
        trying.set()
        with suppress(asyncio.CancelledError):  # as when it meets an answer
            await asyncio.sleep(0.3)
        raise OSError("nobody is there")

    connection.client._connect_to_server = connect_deaf  # type: ignore[method-assign]
    others = asyncio.all_tasks()
    broker.broker.kill()
    await asyncio.wait_for(trying.wait(), 20)
    await connection.close()
    await _until(lambda: asyncio.all_tasks() <= others)


async def test_a_closed_connection_that_is_made_again_is_closed_again(broker: Any, connect_as: ConnectAs) -> None:
    connection = await connect_as("scheduler")
    connect_again, trying, may_go = connection.client._connect_to_server, asyncio.Event(), asyncio.Event()

    async def connect_deaf(*server: Any) -> None:
        trying.set()
        while not may_go.is_set():
            with suppress(asyncio.CancelledError):
                await may_go.wait()
        await connect_again(*server)

    connection.client._connect_to_server = connect_deaf  # type: ignore[method-assign]
    others = asyncio.all_tasks()
    broker.broker.restart(kill=True)
    await asyncio.wait_for(trying.wait(), 20)
    await connection.close()
    may_go.set()
    await _until(lambda: asyncio.all_tasks() <= others and connection.client.is_closed)
    transport = connection.client._transport._io_writer.transport  # type: ignore[union-attr]
    assert transport.is_closing()


async def test_append_without_a_broker_says_that_nothing_was_stored(broker: Any, connect_as: ConnectAs) -> None:
    log = NatsEventLog(await connect_as("scheduler"))
    broker.broker.kill()
    with pytest.raises(LogUnavailable):
        await log.last_seq()
    with pytest.raises(LogUnavailable):
        await log.append([Outgoing(RUN, b"x", "1")])


@pytest.mark.slow
async def test_append_to_a_silent_broker_is_not_settled_and_may_be_stored(broker: Any, connect_as: ConnectAs) -> None:
    log = NatsEventLog(await connect_as("scheduler"))
    _silence(broker.broker.pid)
    try:
        with pytest.raises(NotSettled, match="no acknowledgement"):
            await log.append([Outgoing(RUN, b"x", "1")])
    finally:
        os.kill(broker.broker.pid, signal.SIGCONT)
    assert await log.append([Outgoing(RUN, b"x", "1")]) == 1
    assert await log.last_seq() == 1


@pytest.mark.slow
async def test_reader_goes_on_after_a_silence(broker: Any, connect_as: ConnectAs) -> None:
    log, reader = NatsEventLog(await connect_as("scheduler")), await NatsEventLog(await connect_as("archiver")).read()
    await log.append([Outgoing(RUN, b"x", "1")])
    assert [m.seq for m in await reader.next(1)] == [1]
    _silence(broker.broker.pid)
    started = time.monotonic()
    assert await reader.next(2.5) == []
    assert time.monotonic() - started < 5
    os.kill(broker.broker.pid, signal.SIGCONT)
    await store_surely(log, 2)
    assert [m.seq for m in await reader.next(3)] == [2]


@pytest.mark.slow
async def test_reader_whose_waits_are_short_notices_a_silence_too(broker: Any, connect_as: ConnectAs) -> None:
    log, view = NatsEventLog(await connect_as("scheduler")), NatsEventLog(await connect_as("viewer"), VIEW_STREAM)
    reader = await view.read(subject=ONE_RUN)
    _silence(broker.broker.pid)
    async with asyncio.timeout(20):
        while not reader.interruptions:  # what was asked before the silence may never be answered
            assert await reader.next(0.2) == []
    os.kill(broker.broker.pid, signal.SIGCONT)
    await store_surely(log, 1)
    found: list[Recorded] = []
    async with asyncio.timeout(10):
        while not found:
            found = await reader.next(0.2)
    assert [m.seq for m in found] == [1]


async def test_reader_idles_over_heartbeats_without_starting_anew(connect_as: ConnectAs) -> None:
    connection = await connect_as("archiver")
    reader = await NatsEventLog(connection).read()
    boot = await connect_as("bootstrap")
    before = (await boot.api("CONSUMER.INFO.PTO.archiver"))["num_waiting"]
    started = connection.client.stats["out_msgs"]
    assert await reader.next(2.2) == []
    assert connection.client.stats["out_msgs"] == started
    assert before > 0


async def test_reader_whose_consumer_was_moved_finds_its_place_again(connect_as: ConnectAs) -> None:
    log, reader = NatsEventLog(await connect_as("scheduler")), await NatsEventLog(await connect_as("archiver")).read()
    for number in range(3):
        await store_surely(log, number)
    assert len(await reader.next(1)) >= 1
    boot = await connect_as("bootstrap")
    await boot.api("CONSUMER.RESET.PTO.archiver", {"seq": 1})
    found: list[Recorded] = []
    await store_surely(log, 3)
    while not found or found[-1].seq < 4:
        news = await reader.next(3)
        assert news
        found += news
    assert [m.seq for m in found] == list(range(found[0].seq, 5))


async def test_second_open_reader_of_one_account_is_a_mistake(connect_as: ConnectAs) -> None:
    log = NatsEventLog(await connect_as("scheduler"))
    first = await log.read()
    with pytest.raises(RuntimeError, match="already has an open reader"):
        await log.read()
    await first.close()
    await (await log.read()).close()


async def test_missing_messages_are_corruption_with_their_numbers(connect_as: ConnectAs) -> None:
    log, archiver = NatsEventLog(await connect_as("scheduler")), await connect_as("archiver")
    for number in range(10):
        await store_surely(log, number)
    await archiver.api("STREAM.PURGE.PTO", {"seq": 5})
    reader = await log.read(after=2)
    with pytest.raises(LogCorrupt, match="lacks sequences 3 to 4"):
        await reader.next(5)
    await reader.close()
    behind = await log.read(after=4)
    assert (await behind.next(2))[0].seq == 5


async def test_position_behind_the_end_is_corruption(connect_as: ConnectAs) -> None:
    log = NatsEventLog(await connect_as("scheduler"))
    await store_surely(log, 1)
    with pytest.raises(LogCorrupt, match="ends at sequence 1, but 9 was read"):
        await log.read(after=9)


async def test_account_that_was_not_set_up_is_told_so(connect_as: ConnectAs) -> None:
    log, boot = NatsEventLog(await connect_as("scheduler")), await connect_as("bootstrap")
    await boot.api("CONSUMER.DELETE.PTO.scheduler")
    with pytest.raises(LogCorrupt, match="run the bootstrap step"):
        await log.read()


async def test_vanished_stream_is_corruption(connect_as: ConnectAs) -> None:
    log, boot = NatsEventLog(await connect_as("scheduler")), await connect_as("bootstrap")
    await boot.api("STREAM.DELETE.PTO")
    with pytest.raises(LogCorrupt, match="gone"):
        await log.last_seq()
    with pytest.raises(LogCorrupt):
        await log.read()


async def test_full_log_and_full_blob_store_say_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    accounts = single_host_accounts("pw", ())
    with Broker.start(tmp_path_factory.mktemp("small"), accounts) as running:
        boot = await connect(running.url, user="bootstrap", password="pw")
        await bootstrap(boot, accounts, sizes=Sizes(log_bytes=200_000, blob_bytes=1_500_000))
        connection = await connect(running.url, user="scheduler", password="pw")
        log, blobs = NatsEventLog(connection), NatsBlobStore(connection)
        with pytest.raises(LogUnavailable, match="cannot store"):
            await log.append([Outgoing(RUN, os.urandom(300_000), "too much")])
        kept = os.urandom(600_000)
        digest = await blobs.put(kept)
        lost = os.urandom(2_000_000)
        with pytest.raises(StoreFull):
            await blobs.put(lost)
        assert not await blobs.has(digest_of(lost))
        assert await blobs.get(digest) == kept
        assert await blobs.put(kept) == digest
        for each in (boot, connection):
            await each.close()


async def test_half_stored_blob_is_not_there_and_can_be_completed(connect_as: ConnectAs) -> None:
    connection = await connect_as("requester")
    blobs, data = NatsBlobStore(connection), os.urandom(1_200_000)
    step = 512 * 1024
    await connection.ask(blob_subject(digest_of(data), 1), data[step : 2 * step])
    assert not await blobs.has(digest_of(data))
    assert await blobs.put(data) == digest_of(data)
    assert await blobs.get(digest_of(data)) == data


async def test_blob_that_does_not_match_its_name_is_damaged(connect_as: ConnectAs) -> None:
    connection = await connect_as("requester")
    digest = digest_of(b"what it should be")
    await connection.ask(blob_subject(digest, 0), (1).to_bytes(8, "big") + b"something else")
    with pytest.raises(BlobDamaged):
        await NatsBlobStore(connection).get(digest)


async def test_blobs_leave_no_consumers(connect_as: ConnectAs) -> None:
    blobs, boot = NatsBlobStore(await connect_as("requester")), await connect_as("bootstrap")
    for number in range(20):
        await blobs.get(await blobs.put(b"%d" % number))
    assert (await boot.api("STREAM.INFO.PTO_BLOB"))["state"]["consumer_count"] == 0
