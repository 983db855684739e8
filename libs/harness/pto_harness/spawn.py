"""Starts a program in a session of its own, as cheaply as the C library can.

Imports the standard library only. Invariant: the program gets the three standard streams and no other descriptor.
``posix_spawn`` of the C library is called directly: that of ``os`` knows no working folder, and like ``subprocess`` it
keeps all other threads of Python waiting until the program is loaded. Where the C library lacks what is needed here (a
working folder and closing all other descriptors: glibc before 2.34, musl), ``subprocess`` does it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

OPAQUE_BYTES = 1024
"""More than any C library's structure of attributes or actions has (glibc: 336 and 80)."""
SET_SIGNALS = 0x04
NEW_SESSION = 0x80
"""Flags of glibc."""
FIRST_OTHER = 3
"""The first descriptor after the standard streams."""


def prepare(
    argv: list[str], cwd: str, env: dict[str, str], stdout: int, stderr: int, stdin: int = -1
) -> Callable[[], int]:
    """The start as a function, which returns the process id; the caller must wait for that process.

    It blocks until the program is loaded, about a third of a millisecond, and may be called in any thread. Both raise
    OSError and ValueError. Without ``stdin`` there is nothing to read.
    """
    library, streams = _library(), (_nothing() if stdin < 0 else stdin, stdout, stderr)
    if library is None or min(streams) < FIRST_OTHER:
        return partial(_spawn_by_subprocess, argv, cwd, env, streams)
    return library.prepare(argv, cwd, env, streams)


def _spawn_by_subprocess(argv: list[str], cwd: str, env: dict[str, str], streams: tuple[int, int, int]) -> int:
    stdin, stdout, stderr = streams
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    process.returncode = 0  # it is not this object that waits for the process
    return process.pid


class _Library:
    """The functions of glibc."""

    def __init__(self) -> None:
        # Only one of these calls takes time; for the others, letting go of Python's lock would cost more than they do.
        quick, slow = ctypes.PyDLL(None), ctypes.CDLL(None)
        self._spawn, self._init = slow.posix_spawn, quick.posix_spawn_file_actions_init
        self._dup2, self._destroy = quick.posix_spawn_file_actions_adddup2, quick.posix_spawn_file_actions_destroy
        self._chdir = quick.posix_spawn_file_actions_addchdir_np
        self._closefrom = quick.posix_spawn_file_actions_addclosefrom_np
        quick.gnu_get_libc_version  # noqa: B018 - the flags above are glibc's
        self._attributes = ctypes.create_string_buffer(OPAQUE_BYTES)
        quick.posix_spawnattr_init(self._attributes)
        signals = ctypes.create_string_buffer(OPAQUE_BYTES)
        quick.sigfillset(signals)  # what this process ignores, such as SIGPIPE, is no concern of the program's
        quick.posix_spawnattr_setsigdefault(self._attributes, signals)
        quick.posix_spawnattr_setflags(self._attributes, ctypes.c_short(SET_SIGNALS | NEW_SESSION))

    def prepare(
        self, argv: list[str], cwd: str, env: dict[str, str], streams: tuple[int, int, int]
    ) -> Callable[[], int]:
        arguments, variables = _strings(argv), _strings(_variables(env))
        program, folder = _program(argv[0], cwd, env), _bytes(cwd)

        def start() -> int:
            # All of it here, so that what is never started has nothing to free.
            actions, pid = ctypes.create_string_buffer(OPAQUE_BYTES), ctypes.c_int()
            error = self._init(actions)
            if error:
                raise OSError(error, os.strerror(error), argv[0])
            for target, stream in enumerate(streams):
                error = error or self._dup2(actions, stream, target)
            error = error or self._chdir(actions, folder) or self._closefrom(actions, FIRST_OTHER)
            error = error or self._spawn(ctypes.byref(pid), program, actions, self._attributes, arguments, variables)
            self._destroy(actions)
            if error:
                raise OSError(error, os.strerror(error), argv[0])
            return pid.value

        return start


@lru_cache(maxsize=1)
def _library() -> _Library | None:
    try:
        return _Library()
    except (OSError, AttributeError):
        return None


@lru_cache(maxsize=1)
def _nothing() -> int:
    return os.open(os.devnull, os.O_RDWR)


def _program(name: str, cwd: str, env: dict[str, str]) -> bytes:
    """The file to load: looked for in the PATH that the program will have, seen from its folder."""
    if "/" in name:
        return _bytes(name)
    denied = False
    for folder in os.get_exec_path(env):
        path = os.path.join(cwd, folder, name)  # noqa: PTH118 - per task and candidate
        if os.path.isfile(path):  # noqa: PTH113
            if os.access(path, os.X_OK):
                return _bytes(path)
            denied = True
    number = errno.EACCES if denied else errno.ENOENT
    raise OSError(number, os.strerror(number), name)


def _variables(env: dict[str, str]) -> list[str]:
    for name in env:
        if not name or "=" in name:
            raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return [f"{name}={value}" for name, value in env.items()]


def _strings(values: list[str]) -> Any:
    # All at once, because coding each by itself costs more than everything else here.
    coded = os.fsencode("\0".join(values)).split(b"\0")
    if len(coded) > max(1, len(values)):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(values) + 1))(*coded[: len(values)], None)


def _bytes(value: str) -> bytes:
    data = os.fsencode(value)
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data
