"""How the harness starts its own small programs: by their files, or out of the one file that it is packed in.

Imports the standard library only. Invariant: a packed harness runs what its unpacked twin runs; whoever packs it lets
``main`` decide first what is to be run.
"""

from __future__ import annotations

import sys
from pathlib import Path

NAMES = ("confine", "guard")


def own_program(name: str) -> list[str]:
    """The beginning of an argument vector that runs this one of ``NAMES``.

    -I -S: nothing of the user's Python set-up is needed, and the start takes a third of the time.
    """
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    what = [archive, name] if archive else [str(Path(__file__).with_name(f"{name}.py"))]
    return [sys.executable, "-I", "-S", *what]


def main() -> bool:
    """Whether this process was started as one of ``NAMES`` out of an archive; then that has been done."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        return False
    del sys.argv[1]
    if name == "confine":
        from pto_harness import confine

        confine.main()
    else:
        from pto_harness import guard

        guard.main()
    return True
