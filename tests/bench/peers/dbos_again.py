"""``python -m tests.bench.peers.dbos_again STATE N new|again``: one workflow of steps that append a line each.

``again`` asks for nothing: what is unfinished in the database goes on by itself. Lives until it is killed.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from dbos import DBOS

from .trace import append

WORKERS = 2


def main(state: Path, n: int, *, is_new: bool) -> None:
    config = {
        "name": "bench", "system_database_url": f"sqlite:///{state}/dbos.sqlite", "log_level": "ERROR",
        "application_version": "1", "enable_otlp": False, "run_admin_server": False,
    }  # fmt: skip
    DBOS(config=config)

    @DBOS.step()
    async def step(at: int) -> None:
        append(at)

    @DBOS.workflow()
    async def bag(n: int) -> None:
        places = asyncio.Semaphore(WORKERS)

        async def one(at: int) -> None:
            async with places:
                await step(at)

        await asyncio.gather(*(one(at) for at in range(n)))

    DBOS.launch()
    if is_new:
        asyncio.run(bag(n))
    while os.getppid() != 1:
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), is_new=sys.argv[3] == "new")
