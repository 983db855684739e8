"""The file to which tasks append a line, so that what was executed is counted outside the system. Standard library."""

import os

TRACE = "PEER_TRACE"
"""Variable with its path."""


def append(at: int) -> None:
    """``task NUMBER``, in one write."""
    file = os.open(os.environ[TRACE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"task {at}\n".encode())
    finally:
        os.close(file)
