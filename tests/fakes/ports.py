"""Ports for servers that a test starts."""

import random
import socket

FIRST, LAST = 30_100, 32_700
"""Below the ports that the system gives to connections by itself: those may be taken before the server listens."""
_given: set[int] = set()


def free_port() -> int:
    """One on which nobody listens, and that was not given before."""
    for port in random.sample(range(FIRST, LAST), LAST - FIRST):
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise AssertionError("no free port")


def is_free(port: int) -> bool:
    """Whether a server could listen on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
