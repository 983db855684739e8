"""``python -m tests.fakes.messages_api --scenario FILE [--port 0]``: prints the base URL and serves until it is ended."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from .scenario import Scenario
from .scenario_file import ScenarioMistake, read_scenario
from .server import serving


async def _serve(scenario: Scenario, port: int) -> int:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        async with serving(scenario, port) as api:
            print(api.url, flush=True)
            await ended.wait()
    except OSError as error:
        print(f"port {port} cannot be used: {error.strerror}; choose another, or 0 for any", file=sys.stderr)
        return 3
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.messages_api", description="A scripted Messages API.")
    parser.add_argument("--scenario", type=Path, required=True, help="what it answers: a YAML file, see README.md")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one (default)")
    arguments = parser.parse_args()
    try:
        scenario = read_scenario(arguments.scenario)
    except ScenarioMistake as mistake:
        print(mistake, file=sys.stderr)
        return 2
    return asyncio.run(_serve(scenario, arguments.port))


if __name__ == "__main__":
    sys.exit(main())
