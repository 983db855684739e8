"""Runs many api executors at once, each in a thread, against a fake API in another process; prints what that cost as JSON.

python tests/engines/fifty_agents.py URL FOLDER COUNT
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.agents import model_at, models_now
from fakes.workbench import Bench, agent_task

from pto_engines.api import ApiExecutor


def pss_mb() -> float:
    """Proportional share of memory: all of this process's own pages, and its part of shared ones."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main(url: str, folder: str, count: int) -> None:
    models = models_now()
    engine = ApiExecutor(model_at(models, url))
    task = agent_task(outputs=("src/calc.py",))
    highest = idle = pss_mb()
    began = time.monotonic()
    with ThreadPoolExecutor(count) as threads:
        working = [
            threads.submit(engine.execute, task, Bench(Path(folder) / str(number), task.spec))
            for number in range(count)
        ]
        while not all(future.done() for future in working):
            highest = max(highest, pss_mb())
            time.sleep(0.05)
        turns = sum(future.result().spent.turns for future in working)
    models.close()
    print(json.dumps({"idle_mb": idle, "highest_mb": highest, "turns": turns, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
