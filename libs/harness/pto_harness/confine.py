"""A small program that lays Landlock's rules and limits on a command, waits for it, and ends what it left behind.

Standard library only; run as a program with a box in JSON and the command as its arguments. Invariant: when it ends in
order, no process that came from the command runs, whatever session or environment that process gave itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pto_harness.landlock import restrict
from pto_harness.limits import SANDBOX_DATA_BYTES, SANDBOX_FILE_BYTES, STRAY_PASSES
from pto_harness.own_network import enter_own_network

CANNOT = 126
"""As a shell ends when it cannot run what it found."""
NOT_FOUND = 127
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 24, 36
_CAPABILITIES = 64
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/shm")  # noqa: S108
READ_DEVICES = ("/dev/random", "/dev/urandom", "/proc")


def main() -> None:
    """Run the command; the exit code is its own, 128 and the signal's number if a signal ended it."""
    box, argv = json.loads(sys.argv[1]), sys.argv[2:]
    _prctl(_PR_SET_CHILD_SUBREAPER)
    # A cancel reaches the whole group; this process stays, to end what does not listen.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    temporary = tempfile.mkdtemp(prefix="pto-")
    try:
        child = os.fork()
        if child == 0:
            _become(box, argv, temporary)
        _, status = os.waitpid(child, 0)
        _end_orphans()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _become(box: dict[str, object], argv: list[str], temporary: str) -> None:
    """In the child: never returns."""
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        has_network = bool(box["network"]) or enter_own_network() or bool(box["lenient"])
        # Root would have them again after the exec, and with them read the environment of every process.
        for capability in range(_CAPABILITIES):
            _prctl(_PR_CAPBSET_DROP, capability)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        environment = {**os.environ, "TMPDIR": temporary}
        if not box["keeps_home"]:
            environment["HOME"] = temporary
        for kind, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, SANDBOX_FILE_BYTES),
            (resource.RLIMIT_DATA, SANDBOX_DATA_BYTES),
        ):
            _, hard = resource.getrlimit(kind)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))
        writable = [str(path) for path in box["writable"]]  # type: ignore[attr-defined]
        readable = [str(path) for path in box["readable"]]  # type: ignore[attr-defined]
        restrict([*readable, *READ_DEVICES], [*writable, temporary, *DEVICES], network=has_network)
        os.execvpe(argv[0], argv, environment)  # noqa: S606
    except FileNotFoundError as error:
        _fail(f"{argv[0]}: {error.strerror}", NOT_FOUND)
    except BaseException as error:
        _fail(f"{argv[0]} cannot be run in the sandbox: {error}", CANNOT)


def _fail(text: str, code: int) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
    os._exit(code)


def _end_orphans() -> None:
    """Whoever lost its parent became a child of this process; its own children follow when it is gone."""
    for _ in range(STRAY_PASSES * 100):
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    me, found = str(os.getpid()), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # The name before it may hold anything, the parent is the second word after its last bracket.
                if (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1] == me:
                    found.append(int(entry.name))
    return found


def _prctl(option: int, value: int = 1) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
