"""Services that a test starts as processes of their own.

Invariant: a service counts as up when its log says so since this very start.
"""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UP = ('"event": "dispatcher is up"', '"event": "leading"')
"""What a service logs when it does what it is asked; a scheduler that stands by says nothing."""
UP_S = 60.0
_LOOK_S = 0.05


class ServiceProcess(subprocess.Popen[bytes]):
    """``pto-NAME``, which logs to the end of a file."""

    def __init__(self, name: str, log: Path, **options: Any) -> None:
        self._log = log
        with log.open("ab") as file:
            self._log_began = file.tell()
            command = [Path(sys.executable).parent / f"pto-{name}"]
            super().__init__(command, stdout=file, stderr=file, **options)

    @property
    def said(self) -> str:
        """All that it has logged; nothing of an earlier process that logged to this file."""
        return self._log.read_bytes()[self._log_began :].decode(errors="replace")

    def wait_until_up(self) -> None:
        """Who asks a service that still starts may give up before it answers."""
        until = time.monotonic() + UP_S
        while not any(line in self.said for line in UP):
            assert self.poll() is None, f"{self._log.stem} ended with {self.returncode}:\n{self.said[-4000:]}"
            assert time.monotonic() < until, f"{self._log.stem} is not up after {UP_S:g} s:\n{self.said[-4000:]}"
            time.sleep(_LOOK_S)


def wait_until_up(services: Iterable[ServiceProcess]) -> None:
    """Until all of them are up."""
    for service in services:
        service.wait_until_up()
