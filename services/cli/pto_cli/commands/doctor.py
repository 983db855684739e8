"""``orchestrator doctor``: whether everything is here that a run needs; each check one line.

Imports siblings; the wiring is in ``access``. Invariant: it leaves nothing behind.
"""

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pto_cli.arguments import command_parser, parse
from pto_cli.problems import EXIT_ENVIRONMENT, EXIT_OK
from pto_cli.progress import write_lines

MIN_FREE_BYTES = 512 * 1024 * 1024
"""Room for a run's log and a few blobs."""


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("doctor", "Check that everything is here that a run needs.")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("state folder", _state_folder),
        ("output folder", _output_folder),
        ("sandbox", _sandbox),
    ]
    if typed.nats_url:
        checks.append(("broker", lambda: asyncio.run(_remote(typed.nats_url))))
    else:
        checks += [("nats-server", _server), ("embedded broker", lambda: asyncio.run(_embedded()))]
    failed = 0
    for name, check in checks:
        try:
            said, mark = check(), "ok  "
        except Exception as error:  # a check must not hide the next one
            said, mark = str(error) or type(error).__name__, "FAIL"
            failed += 1
        write_lines([f"{mark}  {name}: {said}"])
    write_lines(["everything is fine" if not failed else f"{failed} of {len(checks)} checks failed"])
    return EXIT_ENVIRONMENT if failed else EXIT_OK


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def _server() -> str:
    from pto_cli.access import server_version

    return server_version()


def _sandbox() -> str:
    from pto_cli.access import confinement

    return confinement()


def _state_folder() -> str:
    from pto_cli.registry import state_home

    folder = state_home()
    folder.mkdir(parents=True, exist_ok=True)
    return _room(folder)


def _output_folder() -> str:
    return _room(Path.cwd())


def _room(folder: Path) -> str:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise OSError(f"the disk of {folder} has {free // 2**20} MiB left, {MIN_FREE_BYTES // 2**20} MiB are needed")
    return f"{folder}, {free / 2**30:.1f} GiB free"


async def _embedded() -> str:
    from pto_cli.access import host_run
    from pto_cli.registry import RunFolder

    with tempfile.TemporaryDirectory(prefix="pto-doctor-") as name:
        began = time.monotonic()
        folder = RunFolder(Path(name) / "run")
        access = await host_run(folder, work_dir=Path(name), capacity=1, with_services=False)
        took = time.monotonic() - began
        await access.close()
    return f"started and set up in {took:.2f} s"


async def _remote(url: str) -> str:
    from pto_cli.access import open_remote

    access = await open_remote(url, os.environ)
    try:
        last = await access.session.view.last_seq()
    finally:
        await access.close()
    return f"{url} answers; its log ends at {last}"
