"""What ends a command early, and how it is said: one sentence each on standard error, never a traceback.

Imports the standard library; the services' errors only when one was raised. Invariant: exit codes are design §7's.
"""

import errno
import sys
from collections.abc import Iterable

EXIT_OK = 0
EXIT_NOT_SUCCEEDED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_PAUSED = 4
EXIT_INTERRUPTED = 130
QUOTA = "quota: "
"""How the reason of a refusal begins that says that the requester has asked for all that they may."""


class WrongUse(Exception):
    """What was typed or written cannot be done; one sentence for each reason. The user's to change."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Unavailable(Exception):
    """The environment does not allow it; the message says what is missing. Trying again later may help."""


class HostGone(Unavailable):
    """The command that hosted the run has left while this one asked; from now on the store tells."""

    def __init__(self) -> None:
        super().__init__("the command that hosted the run has just left; try again")


def code_of_refusal(reasons: Iterable[str]) -> int:
    """The exit code for what the scheduler refused: a quota is no mistake in what was typed."""
    return EXIT_ENVIRONMENT if all(reason.startswith(QUOTA) for reason in reasons) else EXIT_USAGE


def complain(problems: Iterable[str]) -> None:
    """Each problem on a line of standard error."""
    for problem in problems:
        sys.stderr.write(f"orchestrator: {problem}\n")


def exit_code_of(error: BaseException) -> int | None:
    """Complain about a foreseen error and return its exit code; None: it was not foreseen."""
    if isinstance(error, WrongUse):
        complain(error.problems)
        return EXIT_USAGE
    if isinstance(error, Unavailable) or _is_environment(error):
        complain([_sentence(error)])
        return EXIT_ENVIRONMENT
    return None


def _is_environment(error: BaseException) -> bool:
    from pto_cli.access import BROKER_ERRORS
    from pto_client.output import OutputProblem
    from pto_ports.blob_store import BlobDamaged, BlobMissing, StoreFull
    from pto_ports.engine import EngineError
    from pto_ports.event_log import LogCorrupt, LogUnavailable
    from pto_proto.envelope import UnknownVersion
    from pto_runtime.service import CannotServe
    from pto_runtime.settings import BadSettings

    foreseen = (
        *BROKER_ERRORS, BlobDamaged, BlobMissing, StoreFull, LogCorrupt, LogUnavailable, UnknownVersion, CannotServe,
        BadSettings, EngineError, OutputProblem, OSError,
    )  # fmt: skip
    return isinstance(error, foreseen)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no room on the disk{f' of {error.filename}' if error.filename else ''}: free some space"
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "\n    ".join(lines) or type(error).__name__
