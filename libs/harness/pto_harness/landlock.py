"""Landlock: the kernel's own rules about files, ports and signals, which a process lays on itself and its children.

Imports the standard library only (``ctypes``; Linux 5.13 and later). Invariant: a process that passed ``restrict`` can
never get back what it gave up, and gains no privileges by what it executes.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls: the same on all architectures."""
_ASK_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
"""Those that a rule about a single file may name; truncating and ioctl are the last two."""
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS = 16
_TCP_ABI, _SCOPE_ABI = 4, 6
_BIND_AND_CONNECT = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def abi() -> int:
    """The version that the kernel offers; 0: none."""
    try:
        return int(_call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION)))
    except (OSError, AttributeError):
        return 0


def keeps_network_out() -> bool:
    """Whether TCP can be denied."""
    return abi() >= _TCP_ABI


def restrict(readable: list[str], writable: list[str], *, network: bool) -> None:
    """From here on this thread and its children see and change only what lies below these paths. Raises OSError.

    Paths that do not exist are left out.
    """
    version = abi()
    rights = (1 << _RIGHTS_BY_ABI.get(version, _RIGHTS)) - 1
    fields = [rights]
    if version >= _TCP_ABI:
        fields.append(0 if network else _BIND_AND_CONNECT)
    if version >= _SCOPE_ABI:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow(rules, path, _READ & rights)
        for path in writable:
            _allow(rules, path, rights)
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "privileges cannot be given up")
        _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - runs before each sandboxed program
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, place)
        _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)


def _call(*arguments: Any) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
