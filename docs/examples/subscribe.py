"""Follows a run with nothing but a NATS client, live or from a sequence on, and stops when the run has ended.

python docs/examples/subscribe.py RUN [first sequence, default 1]

Needs nats-py, and the broker's address and a requester's or viewer's account in NATS_URL, PTO_USER and PTO_PASSWORD.
Prints one line per entry: the log's sequence, the time, what happened and to what. Starting again from a sequence that
was printed shows the same lines again: the log does not change.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime

import nats
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy


async def quiet(_: Exception) -> None:
    """What goes wrong is said once, at the end."""


async def main(run: str, first: int) -> None:
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
    start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first)
    events = await connection.jetstream().pull_subscribe(f"pto.*.*.{run}", stream="PTO_VIEW", config=start)
    has_ended = False
    while not has_ended:
        message = await next_message(events)
        event = json.loads(message.data)
        kind = event["type"].split(".")[1]
        for entry in event["data"]["entries"]:
            at = datetime.fromtimestamp(entry["at"] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
            about = entry.get("task") or entry.get("status") or entry.get("reason") or ""
            attempt = f" attempt {entry['attempt']}" if "attempt" in entry else ""
            print(f"{message.metadata.sequence.stream:6} {at} {kind:20} {about}{attempt}", flush=True)
        has_ended = kind == "RunFinished"
    await connection.close()


async def next_message(events: JetStreamContext.PullSubscription) -> Msg:
    """One pull waits for less than a minute, after which the broker would take the consumer away."""
    while True:
        with suppress(TimeoutError):
            return (await events.fetch(1, timeout=30))[0]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1))
    except (OSError, nats.errors.Error) as error:  # no broker there, or a wrong account
        sys.exit(f"subscribe.py: {error}")
