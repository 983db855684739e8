"""One suite for every EventLog: the twin and the broker's adapter must not be told apart by these."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from pto_bus.event_log import NatsEventLog
from pto_memory import MemoryEventLog
from pto_ports.event_log import MAX_BATCH, EventLog, Fence, LogCorrupt, LogReader, NotSettled, Outgoing, Recorded

RUN = "pto.run-accepted._.run-0001"
OTHER_RUN = "pto.run-accepted._.run-0002"
READY = "pto.task-ready.local.run-0001"
EPOCH = "pto.scheduler-epoch-started._._"


class Bench:
    """A stream and handles on it; each handle may have one open reader."""

    def __init__(self, log: EventLog, another: Callable[[], Awaitable[EventLog]]) -> None:
        self.log = log
        self.another = another


@pytest.fixture(params=["memory", "nats"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "nats":  # an asynchronous fixture cannot be set up from inside another one
        request.getfixturevalue("connect_as")
    return str(request.param)


@pytest.fixture
async def bench(kind: str, request: pytest.FixtureRequest) -> Bench:
    if kind == "memory":
        twin = MemoryEventLog()

        async def same() -> EventLog:
            return twin

        return Bench(twin, same)
    connect_as = request.getfixturevalue("connect_as")
    users = iter(["archiver", "scheduler-2"])

    async def next_account() -> EventLog:
        return NatsEventLog(await connect_as(next(users)))

    return Bench(NatsEventLog(await connect_as("scheduler")), next_account)


def messages(count: int, subject: str = RUN, prefix: str = "m") -> list[Outgoing]:
    return [Outgoing(subject, f"{prefix}{number}".encode(), f"{prefix}{number}") for number in range(count)]


async def read_all(reader: LogReader, count: int) -> list[Recorded]:
    found: list[Recorded] = []
    while len(found) < count:
        news = await reader.next(3)
        assert news, f"only {len(found)} of {count} came"
        found += news
    return found


async def test_empty_log_has_no_last_sequence_and_a_reader_that_has_caught_up(bench: Bench) -> None:
    assert await bench.log.last_seq() == 0
    assert await bench.log.last_seq(RUN) == 0
    assert await bench.log.read_run("pto.*.*.run-0001") == []
    reader = await bench.log.read()
    assert reader.caught_up
    assert await reader.next(0.05) == []


async def test_reader_yields_what_was_stored_before_and_after_it_was_opened(bench: Bench) -> None:
    assert await bench.log.append(messages(3)) == 3
    reader = await bench.log.read()
    assert not reader.caught_up
    assert [m.seq for m in await read_all(reader, 3)] == [1, 2, 3]
    assert reader.caught_up
    assert await bench.log.append(messages(1, prefix="later")) == 4
    assert await read_all(reader, 1) == [Recorded(4, RUN, b"later0")]


async def test_reader_starts_after_the_given_sequence(bench: Bench) -> None:
    await bench.log.append(messages(5))
    reader = await bench.log.read(after=3)
    assert [m.seq for m in await read_all(reader, 2)] == [4, 5]
    assert reader.caught_up


async def test_waiting_reader_wakes_at_once(bench: Bench) -> None:
    reader = await bench.log.read()
    waiting = asyncio.create_task(reader.next(10))
    await asyncio.sleep(0.05)
    await bench.log.append(messages(1))
    started = time.monotonic()
    assert [m.data for m in await waiting] == [b"m0"]
    assert time.monotonic() - started < 0.5


async def test_reader_without_news_returns_nothing_after_its_wait(bench: Bench) -> None:
    reader = await bench.log.read()
    started = time.monotonic()
    assert await reader.next(0.1) == []
    assert 0.09 < time.monotonic() - started < 2


async def test_several_readers_see_the_same(bench: Bench) -> None:
    first, second = await bench.log.read(), await (await bench.another()).read()
    await bench.log.append(messages(4))
    assert await read_all(first, 4) == await read_all(second, 4)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("pto.*.*.run-0001", [1, 3]),
        ("pto.run-accepted.*.*", [1, 2]),
        ("pto.task-ready.local.run-0001", [3]),
        ("pto.>", [1, 2, 3]),
        ("pto.run-finished.*.*", []),
    ],
)
async def test_filtered_reader_yields_only_what_matches(bench: Bench, subject: str, expected: list[int]) -> None:
    for number, where in enumerate((RUN, OTHER_RUN, READY)):
        await bench.log.append([Outgoing(where, b"x", f"id{number}")])
    reader = await bench.log.read(subject=subject)
    found: list[Recorded] = []
    while not reader.caught_up:
        found += await reader.next(1)
    assert [m.seq for m in found] == expected
    assert await reader.next(0.05) == []


async def test_filtered_reader_is_not_woken_with_nothing_by_other_subjects(bench: Bench) -> None:
    reader = await bench.log.read(subject="pto.task-ready.*.*")
    waiting = asyncio.create_task(reader.next(5))
    await asyncio.sleep(0.05)
    await bench.log.append(messages(1))
    await asyncio.sleep(0.1)
    await bench.log.append([Outgoing(READY, b"mine", "mine")])
    assert [m.data for m in await waiting] == [b"mine"]


async def test_read_run_gives_one_run_up_to_a_sequence(bench: Bench) -> None:
    for number in range(6):
        await bench.log.append([Outgoing(RUN if number % 2 == 0 else OTHER_RUN, b"%d" % number, f"id{number}")])
    assert [m.seq for m in await bench.log.read_run("pto.*.*.run-0001")] == [1, 3, 5]
    assert await bench.log.read_run("pto.*.*.run-0001", up_to=3) == [Recorded(1, RUN, b"0"), Recorded(3, RUN, b"2")]
    assert await bench.log.read_run("pto.*.*.run-0001", after=1, up_to=3) == [Recorded(3, RUN, b"2")]
    assert await bench.log.read_run("pto.*.*.run-0001", after=3, up_to=3) == []
    assert (await bench.log.read_run("pto.*.*.run-0001", after=1))[0] == Recorded(3, RUN, b"2")
    assert await bench.log.read_run("pto.*.*.run-0001", after=1000) == []
    assert await bench.log.read_run("pto.*.*.run-0009") == []


async def test_read_run_gives_more_than_one_page(bench: Bench) -> None:
    await bench.log.append(messages(MAX_BATCH))
    await bench.log.append(messages(MAX_BATCH, prefix="n"))
    assert [m.seq for m in await bench.log.read_run("pto.*.*.run-0001")] == list(range(1, 2 * MAX_BATCH + 1))


async def test_last_sequence_by_subject(bench: Bench) -> None:
    await bench.log.append(messages(2))
    await bench.log.append(messages(1, READY, "r"))
    assert await bench.log.last_seq() == 3
    assert await bench.log.last_seq(RUN) == 2
    assert await bench.log.last_seq(READY) == 3
    assert await bench.log.last_seq("pto.*.*.run-0001") == 3


async def test_fenced_append_is_stored_while_the_fence_stands(bench: Bench) -> None:
    epoch = await bench.log.append([Outgoing(EPOCH, b"one", "epoch-1")], Fence(EPOCH, 0))
    fence = Fence(EPOCH, epoch)
    assert await bench.log.append(messages(1), fence) == 2
    assert await bench.log.append(messages(3, prefix="b"), fence) == 5
    assert await bench.log.append(messages(1, prefix="c"), fence) == 6


async def test_everything_behind_a_stale_fence_is_refused(bench: Bench) -> None:
    old = Fence(EPOCH, await bench.log.append([Outgoing(EPOCH, b"one", "epoch-1")]))
    await bench.log.append([Outgoing(EPOCH, b"two", "epoch-2")], old)
    with pytest.raises(NotSettled):
        await bench.log.append(messages(1), old)
    with pytest.raises(NotSettled):
        await bench.log.append(messages(3, prefix="b"), old)
    assert await bench.log.last_seq() == 2


async def test_only_one_of_two_rivals_gets_the_epoch(bench: Bench) -> None:
    outcomes = await asyncio.gather(
        *(bench.log.append([Outgoing(EPOCH, b"mine", f"epoch-{rival}")], Fence(EPOCH, 0)) for rival in range(2)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, NotSettled) for outcome in outcomes].count(True) == 1
    assert await bench.log.last_seq() == 1


async def test_repeated_batch_is_not_settled_and_stored_once(bench: Bench) -> None:
    await bench.log.append(messages(3))
    with pytest.raises(NotSettled):
        await bench.log.append(messages(3))
    assert await bench.log.last_seq() == 3


async def test_repeated_fenced_message_is_not_settled_and_stored_once(bench: Bench) -> None:
    epoch = await bench.log.append([Outgoing(EPOCH, b"one", "epoch-1")])
    await bench.log.append(messages(1), Fence(EPOCH, epoch))
    with pytest.raises(NotSettled):
        await bench.log.append(messages(1), Fence(EPOCH, epoch))
    assert await bench.log.last_seq() == 2


async def test_repeated_single_message_gives_the_first_sequence(bench: Bench) -> None:
    assert await bench.log.append(messages(1)) == 1
    await bench.log.append(messages(1, prefix="n"))
    assert await bench.log.append(messages(1)) == 1
    assert await bench.log.last_seq() == 2


async def test_refused_append_does_not_burn_its_wire_id(bench: Bench) -> None:
    with pytest.raises(NotSettled):
        await bench.log.append(messages(1), Fence(EPOCH, 7))
    assert await bench.log.append(messages(1), Fence(EPOCH, 0)) == 1


async def test_batch_is_contiguous_among_concurrent_appends(bench: Bench) -> None:
    await asyncio.gather(*(bench.log.append(messages(20, prefix=f"w{writer}.")) for writer in range(5)))
    found = await bench.log.read_run("pto.*.*.run-0001")
    assert [m.seq for m in found] == list(range(1, 101))
    for start in range(0, 100, 20):
        assert len({m.data.split(b".")[0] for m in found[start : start + 20]}) == 1


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_too_few_or_too_many_messages_are_a_mistake(bench: Bench, count: int) -> None:
    with pytest.raises(ValueError, match="1 to"):
        await bench.log.append(messages(count))


async def test_message_above_the_broker_limit_is_a_mistake(bench: Bench) -> None:
    with pytest.raises(ValueError, match="bytes"):
        await bench.log.append([Outgoing(RUN, b"x" * (1 << 20), "big")])
    assert await bench.log.last_seq() == 0


async def test_reader_can_be_opened_again_after_it_was_closed(bench: Bench) -> None:
    await bench.log.append(messages(3))
    reader = await bench.log.read()
    await read_all(reader, 3)
    await reader.close()
    again = await bench.log.read(after=1)
    assert [m.seq for m in await read_all(again, 2)] == [2, 3]


async def test_order_and_bytes_survive_a_long_stream(bench: Bench) -> None:
    for part in range(5):
        await bench.log.append(messages(MAX_BATCH, prefix=f"p{part}."))
    reader = await bench.log.read()
    found = await read_all(reader, 5 * MAX_BATCH)
    assert [m.seq for m in found] == list(range(1, 5 * MAX_BATCH + 1))
    assert found[MAX_BATCH].data == b"p1.0"
    assert reader.caught_up


async def test_what_was_purged_is_gone_and_all_else_stays_as_it_was(bench: Bench) -> None:
    await bench.log.append([Outgoing(READY, b"1", "a"), *messages(3), Outgoing(READY, b"5", "b")])
    keeper = await bench.another()
    for up_to in (3, 3, 1):
        await keeper.purge(up_to)  # type: ignore[attr-defined]
    assert await keeper.last_seq() == 5
    assert await keeper.last_seq(RUN) == 4
    reader = await keeper.read(after=3)
    assert [m.seq for m in await read_all(reader, 2)] == [4, 5]
    assert reader.caught_up
    await reader.close()
    assert await bench.log.append(messages(1, prefix="later")) == 6
    assert await bench.log.append(messages(1, RUN, prefix="fenced"), Fence(READY, 5)) == 7


async def test_reader_of_everything_says_that_the_beginning_is_gone(bench: Bench) -> None:
    await bench.log.append(messages(4))
    keeper = await bench.another()
    await keeper.purge(2)  # type: ignore[attr-defined]
    reader = await keeper.read()
    with pytest.raises(LogCorrupt):
        await read_all(reader, 2)
    await reader.close()


async def test_a_fence_on_a_purged_message_is_lost(bench: Bench) -> None:
    """Why nothing from the last epoch on may be purged."""
    await bench.log.append([Outgoing(EPOCH, b"1", "a"), *messages(2)])
    await (await bench.another()).purge(1)  # type: ignore[attr-defined]
    with pytest.raises(NotSettled):
        await bench.log.append(messages(1, prefix="later"), Fence(EPOCH, 1))
