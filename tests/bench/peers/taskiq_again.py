"""``python -m tests.bench.peers.taskiq_again N``: asks for tasks that append a line each, and ends when all are stored."""

import asyncio
import sys

from .taskiq_tasks import broker, trace

UNDER_WAY = 256


async def main(n: int) -> None:
    await broker.startup()
    under_way = asyncio.Semaphore(UNDER_WAY)

    async def one(at: int) -> None:
        async with under_way:
            await trace.kiq(at)

    await asyncio.gather(*(one(at) for at in range(n)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
