"""The floors for processes: GNU make, which keeps dependencies too, and xargs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..shapes import Dependencies, bag
from .peer import NULL


class Make:
    """``make -j``, with phony targets."""

    durable = "no"

    def start(self, workers: int, state: Path) -> None:
        self._workers, self._file = str(workers), state / "Makefile"

    def bag(self, n: int) -> None:
        self.processes(n)

    def processes(self, n: int) -> None:
        self.graph(bag(n), [0.0] * n)

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        goals = " ".join(f"t{at}" for at in range(len(dependencies)))
        rules = [f".PHONY: all {goals}", f"all: {goals}"]
        for at, (above, duration) in enumerate(zip(dependencies, durations, strict=True)):
            rules += [f"t{at}: " + " ".join(f"t{other}" for other in above)]
            rules += [f"\t@/bin/sleep {duration}" if duration else f"\t@{NULL}"]
        self._file.write_text("\n".join(rules) + "\n")
        subprocess.run(["make", "-s", "-j", self._workers, "-f", self._file], check=True)

    def stop(self) -> None:
        pass


class Xargs:
    """``xargs -P``."""

    durable = "no"

    def start(self, workers: int, state: Path) -> None:
        self._workers = str(workers)

    def bag(self, n: int) -> None:
        self.processes(n)

    def processes(self, n: int) -> None:
        self._run(NULL, ["x"] * n)

    def graph(self, dependencies: Dependencies, durations: Sequence[float]) -> None:
        if any(dependencies):
            raise NotImplementedError("xargs knows no dependencies")
        self._run("/bin/sleep", [str(duration) for duration in durations])

    def stop(self) -> None:
        pass

    def _run(self, program: str, words: Sequence[str]) -> None:
        command = ["xargs", "-P", self._workers, "-n1", program]
        subprocess.run(command, input="\n".join(words), text=True, check=True)
