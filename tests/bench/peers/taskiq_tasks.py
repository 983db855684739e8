"""The tasks and the broker that the worker processes of taskiq import. The address comes from the environment."""

import asyncio
import os

from nats.js.api import ConsumerConfig
from taskiq_nats import PullBasedJetStreamBroker

from .peer import NULL
from .trace import append

URL = "PEER_NATS_URL"
BATCH = "PEER_PULL_BATCH"
DONE = "done"
"""Subject on which a task says that it is done: the results that taskiq-nats stores end at its server's limit of
consumers after about a thousand.
"""

broker = PullBasedJetStreamBroker(
    os.environ[URL], durable="bench", pull_consume_batch=int(os.environ[BATCH]), pull_consume_timeout=1,
    consumer_config=ConsumerConfig(durable_name="bench", ack_wait=30, max_ack_pending=5000),
)  # fmt: skip


@broker.task
async def node(at: int, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
    await broker.client.publish(DONE, str(at).encode())


@broker.task
async def spawn(at: int) -> None:
    await (await asyncio.create_subprocess_exec(NULL)).wait()
    await broker.client.publish(DONE, str(at).encode())


@broker.task
async def trace(at: int) -> None:
    append(at)
