"""Asks for a run with nothing but a NATS client: publishes RunRequested and waits for the end of the run.

    python docs/examples/request.py "Create a calculator function" [run id] [executors]

Needs nats-py, and the broker's address and a requester's account in NATS_URL, PTO_USER and PTO_PASSWORD. The output is
fetched with ``orchestrator fetch RUN -o DIR``. Exit code 0: the run succeeded.
"""

import asyncio
import json
import os
import secrets
import sys
from contextlib import suppress
from datetime import UTC, datetime

import nats
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext


async def quiet(_: Exception) -> None:
    """What goes wrong is said once, at the end."""


async def main(requirement: str, run: str, executors: int) -> int:
    user = os.environ.get("PTO_USER", "requester")
    connection = await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        user=user,
        password=os.environ.get("PTO_PASSWORD", ""),
        inbox_prefix=f"_INBOX_{user}",
        connect_timeout=5,
        allow_reconnect=False,
        max_reconnect_attempts=1,
        error_cb=quiet,
    )
    stream = connection.jetstream()

    # The view is a mirror of the log: reading it disturbs nobody. Subjects are pto.<kind>.<lane>.<run>.
    events = await stream.pull_subscribe(f"pto.*.*.{run}", stream="PTO_VIEW")

    subject = f"pto.req.run-requested.{user}"
    request = {
        "specversion": "1.0",
        "id": secrets.token_hex(8),  # the same id again is the same request
        "type": "pto.RunRequested.v1",
        "source": f"requester/{user}",
        "subject": subject,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datacontenttype": "application/json",
        "data": {"run": run, "requirement": requirement, "max_executors": executors},
    }
    stored = await stream.publish(subject, json.dumps(request).encode(), headers={"Nats-Msg-Id": request["id"]})
    print(f"asked for run {run} (request {stored.seq})", flush=True)

    status = ""
    while not status:
        event = json.loads((await next_message(events)).data)
        kind = event["type"].split(".")[1]
        for entry in event["data"]["entries"]:
            if kind == "RequestRefused" and entry.get("request_id") == request["id"]:
                for problem in entry["reasons"]:
                    print(f"refused: {problem['where']}: {problem['what']}")
                status = "refused"
            elif kind == "TaskFinished":
                print(f"{entry['task']}: {entry['outcome']} {entry.get('reason', '')}".rstrip(), flush=True)
            elif kind == "RunFinished":
                status = entry["status"]
                print(f"run {run}: {status}, tree digest {entry.get('tree_digest', 'none')}")
    await connection.close()
    return 0 if status == "succeeded" else 1


async def next_message(events: JetStreamContext.PullSubscription) -> Msg:
    """One pull waits for less than a minute, after which the broker would take the consumer away."""
    while True:
        with suppress(TimeoutError):
            return (await events.fetch(1, timeout=30))[0]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    name = sys.argv[2] if len(sys.argv) > 2 else f"request-{secrets.token_hex(4)}"
    budget = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    try:
        sys.exit(asyncio.run(main(sys.argv[1], name, budget)))
    except (OSError, nats.errors.Error) as error:  # no broker there, a wrong account, or a full stream
        sys.exit(f"request.py: {error}")
