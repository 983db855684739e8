"""What the machine does meanwhile: a fixed loop as yardstick, processor time and memory of trees of processes.

Standard library only: peers read this in environments of their own. Linux. Invariant: looking changes nothing.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOOPS = 3_000_000


def calibrate() -> float:
    """Seconds of a fixed loop: how fast this machine is at this moment."""
    began = time.perf_counter()
    total = 0
    for number in range(LOOPS):
        total += number & 7
    return time.perf_counter() - began


def busy_s() -> float:
    """Processor seconds that all processes of the machine have used so far."""
    user, nice, system, _, _, irq, softirq = (int(word) for word in _first_line("stat").split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def family(*roots: int) -> list[int]:
    """These processes and all below them that live."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                children[int(_stat(int(entry.name))[1])].append(int(entry.name))
    found: dict[int, None] = {}
    queue = list(roots)
    while queue:
        pid = queue.pop()
        if pid not in found:
            found[pid] = None
            queue += children.get(pid, ())
    return list(found)


def used_s(pids: Iterable[int]) -> float:
    """Processor seconds of these processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(int(word) for word in _stat(pid)[11:15])
    return ticks / TICKS_PER_S


@dataclass(frozen=True)
class Memory:
    """What some processes hold: resident (shared pages counted in each), and with shared pages divided."""

    procs: int
    rss_mb: float
    pss_mb: float


def memory(pids: Iterable[int]) -> Memory:
    """Of these processes, those that are gone left out."""
    procs = rss = pss = 0
    for pid in pids:
        with suppress(OSError):
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
            sizes = {name: int(size) for name, size, *_ in (line.split() for line in lines[1:])}
            rss += sizes["Rss:"]
            pss += sizes["Pss:"]
            procs += 1
    return Memory(procs, round(rss / 1024, 1), round(pss / 1024, 1))


def program(pid: int) -> str:
    """Name of the program that this process runs; empty if it is gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "comm").read_text().strip()
    return ""


def _first_line(name: str) -> str:
    return (PROC / name).read_text().partition("\n")[0]


def _stat(pid: int) -> list[str]:
    """Fields of the process from its state (0) and parent (1) on; 11 to 14 are its own and its children's time."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def mentioning(text: str) -> list[int]:
    """Processes whose command line holds this text, this one and its parent aside."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) not in (os.getpid(), os.getppid()):
            with suppress(OSError):
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def age_s() -> float:
    """Seconds since this process was made, to a hundredth."""
    return float(_first_line("uptime").split()[0]) - int(_stat(os.getpid())[19]) / TICKS_PER_S
