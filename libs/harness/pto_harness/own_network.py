"""A network of one's own that has nothing but loopback, without any program's help.

Imports the standard library only (``ctypes``; Linux). Invariant: True is said only with loopback up and nothing else
there.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


def enter_own_network() -> bool:
    """Whether this process now has a network of its own: by right, or as the owner of a new user namespace.

    In a user namespace the process keeps its ids; call it before privileges are given up, in a single thread.
    """
    user, group = os.getuid(), os.getgid()
    try:
        if not _unshare(_CLONE_NEWNET):
            if not _unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
                return False
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                Path("/proc/self", name).write_text(text)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP | _IFF_RUNNING, b""))
    except OSError:
        return False
    return True


def _unshare(what: int) -> bool:
    return bool(ctypes.CDLL(None, use_errno=True).unshare(what) == 0)
