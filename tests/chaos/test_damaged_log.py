"""A log that is gone, cut short, full of holes or holds what this version cannot read: services say so and stop, or go
on with what is sound. Nobody makes a log anew where there was one.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pto_bus.bootstrap import bootstrap
from pto_bus.connect import connect
from pto_bus.errors import StoreCorrupt
from pto_bus.event_log import NatsEventLog
from pto_bus.topology import Sizes
from pto_ports.event_log import Outgoing

from .asking import Requester, Watcher
from .checker import check_log
from .plans import command_plan, noop_plan
from .sites import DISPATCHER, PASSWORD, SCHEDULER, SERVICES, Site, until

SENTENCE_CHARS = 400


def log_folder(site: Site) -> Path:
    return site.folder / "store/jetstream/$G/streams/PTO"


async def publish(site: Site, subject: str, data: bytes, user: str = "scheduler") -> int:
    connection = await connect(site.url, user=user, password=PASSWORD)
    try:
        return await NatsEventLog(connection).append([Outgoing(subject, data, "")])
    finally:
        await connection.close()


def assert_one_sentence(site: Site, name: str, *words: str) -> None:
    """What the service said to people at its end is short, has these words and is no traceback."""
    said = site.words(name)
    assert len(said) == 1, said
    assert len(said[0]) < SENTENCE_CHARS, said
    for word in words:
        assert word in said[0], said


@pytest.mark.slow
async def test_services_stop_when_the_log_is_gone_and_nobody_makes_it_anew(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """The stream is deleted under running services: each ends with 3 and one sentence. Setting up again is refused."""
    site.start_all()
    await requester.run("before-the-end", noop_plan(50, 5), executors=10)
    await watcher.until_finished("before-the-end")
    await requester.run("in-the-middle", command_plan(100, sleep_s=0.5), executors=4)
    await watcher.wait(lambda: watcher.started["in-the-middle"] > 2, 60, "the start of the run")
    connection = await connect(site.url, user="bootstrap", password=PASSWORD)
    await connection.api("STREAM.DELETE.PTO")
    for service in SERVICES:
        assert site.wait_exit(service.name) == 3
        assert_one_sentence(site, service.name, "PTO", "gone")
    assert not site.tracebacks()
    code, said = site.orchestrator("bootstrap", user="bootstrap")
    assert code == 3, said
    assert "PTO is gone" in said
    with pytest.raises(StoreCorrupt):
        await bootstrap(connection, site.accounts)
    await connection.close()


@pytest.mark.slow
async def test_services_stop_when_the_end_of_the_log_is_lost(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """The broker is killed and the log's file cut in half: who has read what is lost now says so and stops."""
    site.start_all()
    await requester.run("cut-short", noop_plan(500, 5), executors=50)
    await watcher.until_finished("cut-short")
    site.broker.kill()
    block = max((log_folder(site) / "msgs").glob("*.blk"), key=lambda path: int(path.stem))
    size = block.stat().st_size
    with block.open("r+b") as file:
        file.truncate(size // 2)
    try:
        site.broker.restart()
    except StoreCorrupt as error:
        print(f"\nrefused at once: {error}")
        return  # refused at once, by name: nothing can go wrong from here
    for service in (SCHEDULER, DISPATCHER):
        assert site.wait_exit(service.name) == 3
        assert_one_sentence(site, service.name, "the stream PTO ends at sequence")
    assert not site.tracebacks()


@pytest.mark.slow
async def test_services_stop_at_a_hole_in_the_log(site: Site, requester: Requester, watcher: Watcher) -> None:
    """A file in the middle of the log is removed while all is down: what starts names the missing sequences."""
    site.start_all((*SERVICES[:2], replace(DISPATCHER, capacity=256), SERVICES[3]))
    blocks = log_folder(site) / "msgs"
    number = 0
    while len(list(blocks.glob("*.blk"))) < 3:
        number += 1
        assert number < 60, "the log does not grow by files"
        await requester.run(f"filling-{number:02d}", noop_plan(2000, 4), executors=256)
        await watcher.until_finished(f"filling-{number:02d}")
    for service in SERVICES:
        site.kill(service.name)
    site.broker.kill()
    sorted(blocks.glob("*.blk"), key=lambda path: int(path.stem))[1].unlink()
    for snapshot in site.folder.rglob("*.snapshot"):
        snapshot.unlink()
    try:
        site.broker.restart()
    except StoreCorrupt as error:
        print(f"\nrefused at once: {error}")
        return  # refused at once, by name
    site.start(SCHEDULER)
    assert site.wait_exit(SCHEDULER.name) == 3
    assert_one_sentence(site, SCHEDULER.name, "the stream PTO lacks sequences")
    assert not site.tracebacks()


@pytest.mark.slow
async def test_an_event_of_a_newer_version_stops_its_readers_with_a_sentence(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """Somebody newer has written: the scheduler and the lane's dispatcher end with 3 and name the type; a reader of
    the command line says the same.
    """
    site.start_all()
    await requester.run("newer-event", command_plan(30, sleep_s=0.5), executors=4)
    await watcher.wait(lambda: watcher.started["newer-event"] > 2, 60, "the start of the run")
    envelope = {
        "specversion": "1.0", "id": "x.1", "type": "pto.TaskReady.v9", "source": "scheduler/newer",
        "subject": "pto.task-ready.local.newer-event", "time": "2030-01-01T00:00:00Z",
        "data": {"run": "newer-event", "lane": "local", "entries": [{"at": 1, "task": "c1", "attempt": 9}]},
    }  # fmt: skip
    await publish(site, "pto.task-ready.local.newer-event", json.dumps(envelope).encode())
    for service in (SCHEDULER, DISPATCHER):
        assert site.wait_exit(service.name) == 3
        assert_one_sentence(site, service.name, "pto.TaskReady.v9")
    code, said = site.orchestrator("status", "newer-event")
    assert "Traceback" not in said, said
    assert code in (0, 3), said
    assert not site.tracebacks()


@pytest.mark.slow
async def test_a_poisoned_message_pauses_its_run_and_no_other(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """Garbage on a run's subject, from the scheduler's own account: that run is paused as poisoned and says where; runs
    beside it and after it finish; the scheduler survives, also from zero; the poisoned run can be cancelled.
    """
    site.start_all()
    await requester.run("to-be-poisoned", command_plan(40, sleep_s=0.5), executors=4)
    await requester.run("beside-it", command_plan(10, sleep_s=0.5), executors=4)
    await watcher.wait(lambda: watcher.started["to-be-poisoned"] > 2, 60, "the start of the run")
    sequence = await publish(site, "pto.task-ready.local.to-be-poisoned", b"\x00\xff no event at all {")
    await publish(site, "pto.task-finished.local.to-be-poisoned", b'{"specversion": 1}', DISPATCHER.name)
    await publish(site, "pto.run-finished._.never-asked-for", b"")
    await watcher.wait(lambda: "RunPaused" in watcher.runs["to-be-poisoned"], 60, "the pause")
    await watcher.until_finished("beside-it")
    site.kill(SCHEDULER.name)
    site.start(SCHEDULER)
    await requester.run("after-it", noop_plan(50, 5), executors=10)
    await watcher.until_finished("after-it")
    assert "to-be-poisoned" not in watcher.finished
    code, said = site.orchestrator("status", "to-be-poisoned")
    assert code == 0, said
    assert "poisoned" in said or str(sequence) in said, said
    code, said = site.orchestrator("cancel", "to-be-poisoned")
    assert code == 0, said
    await watcher.until_finished("to-be-poisoned")
    assert watcher.finished["to-be-poisoned"] == "cancelled"
    site.check()
    assert not site.tracebacks()


@pytest.mark.slow
async def test_a_full_log_is_made_larger_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """The stream's own limit is reached in the middle of a run: all wait; with more room the run goes on to its end."""
    site = Site(tmp_path, sizes=Sizes(log_bytes=300_000))
    try:
        await site.set_up()
        site.start_all()
        requester = await Requester.open(site)
        watcher = Watcher(requester, site.check)
        watcher.begin()
        await requester.run("no-more-room", noop_plan(4000, 20), executors=200)
        await until(lambda: "insufficient" in site.logs() or "maximum bytes" in site.logs(), what="a full log")
        assert "no-more-room" not in watcher.finished
        site.check()
        connection = await connect(site.url, user="bootstrap", password=PASSWORD)
        await bootstrap(connection, site.accounts, sizes=Sizes())
        await connection.close()
        await watcher.until_finished("no-more-room")
        checker = await check_log(site)
        checker.check_succeeded("no-more-room", 4000, checker.runs["no-more-room"].outcome_digest)
        assert not checker.verdict()
        assert not site.tracebacks()
        await watcher.close()
        await requester.close()
    finally:
        site.close()
        shutil.rmtree(tmp_path, ignore_errors=True)
