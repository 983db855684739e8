"""A requester that means harm: what it sends is refused readably or dropped, and an honest run does not notice."""

import asyncio
import json
import secrets
import time

import pytest

from pto_bus.connect import Connection, connect
from pto_proto.envelope import encode_request
from pto_proto.ids import RunId
from pto_proto.requests import Request, RunCancelRequested, RunRequested
from pto_proto.subjects import request_subject

from .asking import Requester, Watcher
from .checker import check_log, read_log
from .plans import command_plan, noop_plan
from .sites import PASSWORD, Site, until

HOSTILE = "hostile"
FLOOD = 20_000
BATCHES = 40
"""Atomic batches that are opened and never committed."""


async def send(connection: Connection, request: Request, request_id: str, message_id: str) -> dict[str, object]:
    """The broker's answer to a request with these ids."""
    subject = request_subject(type(request), HOSTILE)
    data = encode_request(request_id, HOSTILE, time.time_ns() // 10**6, request)
    reply, wait = connection.expect()
    await connection.publish(subject, data, reply, {"Nats-Msg-Id": message_id})
    answer: dict[str, object] = json.loads((await asyncio.wait_for(wait, 10)).data)
    return answer


async def flood(connection: Connection) -> None:
    """Garbage, half envelopes, requests for runs of others and for none, as fast as it goes."""
    cancel = encode_request("again", HOSTILE, 0, RunCancelRequested(run=RunId("no-such-run")))
    plan = encode_request("again", HOSTILE, 0, RunRequested(run=RunId("other-run"), plan=noop_plan(3, 1)))
    payloads = (
        b"",
        b"\x00\xff\xfe",
        b"{",
        b'{"specversion":"1.0"}',
        cancel,
        plan[:-20],
        b"[" * 5000,
        cancel[:-1] + b"x}",
    )
    subjects = [request_subject(kind, HOSTILE) for kind in (RunCancelRequested, RunRequested)]
    for number in range(FLOOD):
        headers = {"Nats-Msg-Id": secrets.token_hex(4)} if number % 3 else None
        await connection.publish(subjects[number % 2], payloads[number % len(payloads)], "", headers)
        if number % 500 == 499:
            await connection.client.flush(30)


async def open_batches(connection: Connection) -> None:
    """First messages of atomic batches, never followed by the others."""
    subject = request_subject(RunCancelRequested, HOSTILE)
    for number in range(BATCHES):
        headers = {"Nats-Batch-Id": f"half-{number}", "Nats-Batch-Sequence": "1"}
        await connection.publish(subject, b"half a batch", "", headers)
    await connection.client.flush(30)


@pytest.mark.slow
async def test_ids_that_are_used_twice_change_nothing(site: Site, requester: Requester, watcher: Watcher) -> None:
    """The same run id with other content is refused with a reason; the same message id is dropped; the same request
    twice is one run; asking for a run that has ended changes nothing.
    """
    site.start_all()
    connection = await connect(site.url, user=HOSTILE, password=PASSWORD)
    mine = RunRequested(run=RunId("mine-alone"), plan=noop_plan(20, 2))
    other = RunRequested(run=RunId("mine-alone"), plan=noop_plan(30, 3))
    assert "seq" in await send(connection, mine, "request-1", "message-1")
    assert (await send(connection, other, "request-1", "message-1")).get("duplicate") is True
    assert "seq" in await send(connection, other, "request-1", "message-2")
    assert "seq" in await send(connection, mine, "request-1", "message-3")
    assert "seq" in await send(connection, RunCancelRequested(run=RunId("not-there")), "request-1", "message-4")
    await watcher.until_finished("mine-alone")
    await watcher.wait(lambda: watcher.kinds["RequestRefused"] >= 2, 30, "two refusals")
    checker = await check_log(site)
    assert not checker.verdict()
    assert checker.runs["mine-alone"].counts == {"succeeded": 20}
    refused = [json.loads(message.data) for message in await read_log(site) if ".request-refused." in message.subject]
    reasons = [str(entry["reasons"]) for event in refused for entry in event["data"]["entries"]]
    assert len(reasons) == 2, reasons
    assert "other content" in reasons[0]
    assert "not-there" in reasons[1]
    await connection.close()


@pytest.mark.slow
async def test_a_flood_does_not_keep_an_honest_run_from_its_end(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """20,000 requests, most of them garbage, and half-open batches: what runs goes on, what is asked for honestly
    meanwhile is done, and the log holds nothing but readable refusals of the rest.
    """
    site.start_all()
    await requester.run("honest-before", command_plan(40, sleep_s=0.3), executors=4)
    await watcher.wait(lambda: watcher.started["honest-before"] > 4, 60, "the start of a run")
    connection = await connect(site.url, user=HOSTILE, password=PASSWORD)
    await open_batches(connection)
    began = time.monotonic()
    flooding = asyncio.create_task(flood(connection))
    await asyncio.sleep(0.3)
    await requester.run("honest-during", noop_plan(1000, 10), executors=100)
    await watcher.until_finished("honest-before", "honest-during")
    print(f"\nhonest runs ended {time.monotonic() - began:.1f} s after the flood began", end="")
    await flooding
    print(f", which took {time.monotonic() - began:.1f} s")
    await requester.run("honest-after", noop_plan(100, 10), executors=100)
    await watcher.until_finished("honest-after")
    checker = await check_log(site)
    for run, tasks in (("honest-before", 40), ("honest-during", 1000), ("honest-after", 100)):
        checker.check_succeeded(run, tasks, checker.runs[run].outcome_digest)
    assert not checker.verdict()
    assert set(checker.runs) == {"honest-before", "honest-during", "honest-after"}
    print(f"{checker.figures['RequestRefused']} refusals in the log of {checker.figures['events']} events")
    site.check()
    assert not site.tracebacks()
    await connection.close()


@pytest.mark.slow
async def test_a_requester_can_reach_nothing_but_the_front_door(
    site: Site, requester: Requester, watcher: Watcher
) -> None:
    """It writes neither to the log, nor in another's name, nor to the lease or the streams' settings."""
    site.start_all()
    for subject in (
        "pto.run-finished._.mine-alone", "pto.req.run-requested.requester", "pto-lease.scheduler",
        "$JS.API.STREAM.DELETE.PTO", "$JS.API.STREAM.PURGE.PTO_REQ", "$JS.API.CONSUMER.RESET.PTO.scheduler",
    ):  # fmt: skip
        connection = await connect(site.url, user=HOSTILE, password=PASSWORD)
        await connection.publish(subject, b"{}")
        await until(lambda at=connection: at.fatal is not None, 20, what=f"the refusal of {subject}")
        await connection.close()
    await requester.run("undisturbed", noop_plan(50, 5), executors=10)
    await watcher.until_finished("undisturbed")
    assert not (await check_log(site)).verdict()
