"""What a process of ours needs of the system before it starts others. Standard library only.

Invariant: a process that takes on many tasks is not stopped by the limits that its shell or supervisor left behind.
"""

import resource
import signal
from contextlib import suppress

DESCRIPTORS = 16_384
"""Open files: a running command takes three, a thousand of them more than the usual soft limit of 1,024."""


def widen_limits() -> None:
    """Raise the soft limit of open files as far as allowed, and hear of ended children whoever started us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
