"""The sandbox of bubblewrap: namespaces in which there is only what a box names.

Imports the standard library only. Invariant: when the program that it started has ended, nothing in the sandbox runs
any more: the kernel ends all processes of a process namespace with its first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache

from pto_harness.box import Box
from pto_harness.host_files import SYSTEM, shown_paths
from pto_harness.limits import (
    PROBE_S,
    SANDBOX_DATA_BYTES,
    SANDBOX_FILE_BYTES,
    SANDBOX_PROCESSES,
    SANDBOX_TMP_BYTES,
)

PROGRAM = "bwrap"
HOME = "/tmp"  # noqa: S108 - the sandbox's own
_ALONE = (
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",
)
_USERS: tuple[tuple[str, ...], ...] = (("--unshare-user", "--disable-userns"), ("--unshare-user",), ())
"""The best that the system lets us have; the last one takes root."""
_BLOCK = 512
# Processes are -p for one kind of shell and -u for another. They are counted for the sandbox alone only in a user
# namespace, so the limit is set inside.
_LIMITED = (
    f"ulimit -c 0; ulimit -f {SANDBOX_FILE_BYTES // _BLOCK}; ulimit -d {SANDBOX_DATA_BYTES // 1024}; "
    f"{{ ulimit -p {SANDBOX_PROCESSES} || ulimit -u {SANDBOX_PROCESSES}; }} 2>/dev/null; "
    'exec "$@"'
)
_UNCOUNTED = _LIMITED.replace(
    f"{{ ulimit -p {SANDBOX_PROCESSES} || ulimit -u {SANDBOX_PROCESSES}; }} 2>/dev/null; ", ""
)


class Bubblewrap:
    """Starts programs by bwrap; made by ``find_bubblewrap``."""

    level = "bubblewrap"

    def __init__(self, program: str, users: tuple[str, ...]) -> None:
        self._program = program
        self._users = users

    def wrap(self, argv: list[str], box: Box) -> list[str]:
        """The arguments that run ``argv`` in the box."""
        inside = _LIMITED if self._users else _UNCOUNTED
        return [self._program, *self._users, *_arguments(box), "--", "/bin/sh", "-c", inside, "sh", *argv]


@lru_cache(maxsize=1)
def find_bubblewrap() -> tuple[Bubblewrap | None, str]:
    """(the sandbox, or why there is none)."""
    program = shutil.which(PROGRAM)
    if program is None:
        return None, f"{PROGRAM} is not installed"
    said = ""
    for users in _USERS:
        found = Bubblewrap(program, users)
        argv = found.wrap(["/bin/true"], Box(workspace="/usr"))
        try:
            tried = subprocess.run(argv, capture_output=True, timeout=PROBE_S, check=False, cwd="/", env={})
        except (OSError, subprocess.SubprocessError) as error:
            return None, f"{program} cannot be run: {error}"
        if tried.returncode == 0:
            return found, ""
        said = said or tried.stderr.decode(errors="replace").strip()[-200:]
    return None, f"{program} does not work here ({said})"


def _arguments(box: Box) -> list[str]:
    found = [*_ALONE, *(() if box.network else ("--unshare-net",)), "--cap-drop", "ALL"]
    found += ["--proc", "/proc", "--dev", "/dev", "--size", str(SANDBOX_TMP_BYTES), "--tmpfs", HOME]
    # In this order: what is shown can lie below /tmp, and what may be written below what may only be read.
    for path in (*shown_paths(), *box.readable):
        found += _shown(path)
    for path in (box.workspace, *box.writable):
        found += ["--bind", path, path]
    if not box.keeps_home:
        found += ["--setenv", "HOME", HOME]
    return [*found, "--setenv", "TMPDIR", HOME, "--remount-ro", "/", "--chdir", box.workspace]


def _shown(path: str) -> list[str]:
    """A link to a place that is shown stays a link, as /bin is on most systems."""
    if path in SYSTEM and os.path.islink(path):  # noqa: PTH114
        return ["--symlink", os.readlink(path), path]  # noqa: PTH115
    return ["--ro-bind-try", path, path]
