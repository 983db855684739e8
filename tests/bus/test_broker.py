"""The broker process: its store, its lock, its death, and what it refuses."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pto_bus import limits
from pto_bus.bootstrap import bootstrap
from pto_bus.broker import Broker
from pto_bus.connect import TlsFiles, connect
from pto_bus.errors import (
    AccessRefused,
    BrokerFailed,
    BusError,
    CannotConnect,
    NoRoom,
    StoreCorrupt,
    StoreInUse,
    StoreNotWritable,
    TopologyDrift,
    WrongThread,
)
from pto_bus.event_log import NatsEventLog
from pto_bus.topology import Account, Sizes, single_host_accounts, streams
from pto_ports.event_log import Outgoing

ACCOUNTS = single_host_accounts("pw", ())
RUN = "pto.run-accepted._.run-0001"


async def set_up(broker: Broker, sizes: Sizes | None = None, *, may_create_log: bool = True) -> None:
    connection = await connect(broker.url, user="bootstrap", password="pw")
    try:
        await bootstrap(connection, ACCOUNTS, sizes=sizes, may_create_log=may_create_log)
    finally:
        await connection.close()


async def write_some(broker: Broker, count: int = 10) -> None:
    connection = await connect(broker.url, user="scheduler", password="pw")
    log = NatsEventLog(connection)
    for number in range(count):
        await log.append([Outgoing(RUN, os.urandom(100), f"id{time.monotonic_ns()}.{number}")])
    await connection.close()


async def count_of(broker: Broker) -> int:
    connection = await connect(broker.url, user="scheduler", password="pw")
    try:
        return await NatsEventLog(connection).last_seq()
    finally:
        await connection.close()


async def test_store_is_kept_over_restarts_and_bootstrap_changes_nothing(tmp_path: Path) -> None:
    with Broker.start(tmp_path / "a" / "store", ACCOUNTS) as broker:
        assert not broker.had_log
        await set_up(broker)
        await write_some(broker)
        url = broker.url
        broker.restart(kill=True)
        assert broker.url == url
        assert await count_of(broker) == 10
    with Broker.start(tmp_path / "a" / "store", ACCOUNTS) as broker:
        assert broker.had_log
        await set_up(broker, may_create_log=False)
        assert await count_of(broker) == 10


def test_second_broker_on_a_store_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS):
        with pytest.raises(StoreInUse, match=str(os.getpid())) as caught:
            Broker.start(tmp_path, ACCOUNTS)
        assert caught.value.holder == os.getpid()
    Broker.start(tmp_path, ACCOUNTS).stop()


def test_passwords_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        assert stat.S_IMODE((tmp_path / "nats-server.conf").stat().st_mode) == 0o600
        arguments = Path(f"/proc/{broker.pid}/cmdline").read_bytes()
        assert b"pw" not in arguments.replace(str(tmp_path).encode(), b"")
        assert broker.url.startswith("nats://127.0.0.1:")
    assert "pw" not in repr(ACCOUNTS)


def test_store_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreNotWritable, match="cannot write the store"):
        Broker.start(tmp_path / "file" / "store", ACCOUNTS)


def test_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(NoRoom, match="free some space"):
        Broker.start(tmp_path, ACCOUNTS)


def test_start_outside_the_main_thread_is_refused(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            Broker.start(tmp_path, ACCOUNTS)
        except BusError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [type(error) for error in caught] == [WrongThread]


async def test_unreadable_stream_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        await set_up(broker)
        await write_some(broker)
    meta = next((tmp_path / "jetstream").glob("*/streams/PTO/meta.inf"))
    good = meta.read_bytes()
    meta.write_bytes(b"not json")
    blocks = sorted(path.name for path in meta.parent.glob("msgs/*.blk"))
    with pytest.raises(StoreCorrupt, match="PTO"):
        Broker.start(tmp_path, ACCOUNTS)
    assert sorted(path.name for path in meta.parent.glob("msgs/*.blk")) == blocks
    meta.write_bytes(good)
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        assert await count_of(broker) == 10


async def test_log_that_vanished_is_not_made_anew(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        await set_up(broker)
    for folder in (tmp_path / "jetstream").glob("*/streams/PTO"):
        shutil.rmtree(folder)
    with Broker.start(tmp_path, ACCOUNTS) as broker, pytest.raises(StoreCorrupt, match="PTO"):
        await set_up(broker, may_create_log=False)


async def test_stream_with_other_settings_is_refused_and_room_may_grow(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        await set_up(broker, Sizes(log_bytes=10 << 20))
        await set_up(broker, Sizes(log_bytes=20 << 20))
        with pytest.raises(TopologyDrift, match="max_bytes is 20971520, wanted 10485760"):
            await set_up(broker, Sizes(log_bytes=10 << 20))


async def test_compression_is_changed_in_place(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        await set_up(broker)
        connection = await connect(broker.url, user="bootstrap", password="pw")
        made = (await connection.api("STREAM.INFO.PTO"))["config"]
        await connection.api("STREAM.UPDATE.PTO", {**made, "compression": "none"})
        await set_up(broker)
        assert (await connection.api("STREAM.INFO.PTO"))["config"] == made
        await connection.close()


def test_what_several_servers_hold_is_not_compressed() -> None:
    assert {config.get("compression", "none") for config in streams(Sizes(replicas=3))} == {"none"}
    assert {config["name"] for config in streams(Sizes()) if config.get("compression") == "s2"} >= {"PTO", "PTO_VIEW"}


def test_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from pto_bus.broker import Broker\nfrom pto_bus.topology import single_host_accounts\n"
        "broker = Broker.start(pathlib.Path(sys.argv[1]), single_host_accounts('pw', ()))\n"
        "print(broker.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        with pytest.raises(StoreInUse) as caught:
            Broker.start(tmp_path, ACCOUNTS)
        assert caught.value.holder == parent.pid
        parent.kill()
    assert ends_within(server, 3)
    Broker.start(tmp_path, ACCOUNTS).stop()


def ends_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


async def test_a_broker_that_is_ended_at_once_has_kept_all_that_it_acknowledged(tmp_path: Path) -> None:
    broker = Broker.start(tmp_path, ACCOUNTS)
    await set_up(broker)
    await write_some(broker, 25)
    broker.stop(at_once=True)
    with Broker.start(tmp_path, ACCOUNTS) as again:
        assert again.had_log
        await set_up(again, may_create_log=False)
        assert await count_of(again) == 25


def test_a_launched_broker_holds_its_store_before_it_is_ready(tmp_path: Path) -> None:
    broker = Broker.launch(tmp_path, ACCOUNTS)
    try:
        with pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
            Broker.launch(tmp_path, ACCOUNTS)
        broker.wait_ready()
        assert broker.url.startswith("nats://127.0.0.1:")
    finally:
        broker.stop()
    assert not broker.is_alive()


def test_a_launched_broker_that_fails_is_told_when_it_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "jetstream").write_text("in the way")
    broker = Broker.launch(tmp_path, ACCOUNTS)
    with pytest.raises(BrokerFailed, match="ended with code"):
        broker.wait_ready()
    assert not broker.is_alive()
    broker.stop()
    (tmp_path / "jetstream").unlink()
    Broker.start(tmp_path, ACCOUNTS).stop()


def test_stuck_server_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STOP_S", 0.3)
    broker = Broker.start(tmp_path, ACCOUNTS)
    pid = broker.pid
    os.kill(pid, signal.SIGSTOP)
    broker.stop()
    assert ends_within(pid, 1)
    assert not broker.is_alive()


async def test_first_connection_gives_up_with_a_sentence(tmp_path: Path) -> None:
    with Broker.start(tmp_path, ACCOUNTS) as broker:
        url = broker.url
        with pytest.raises(AccessRefused, match="refused user 'scheduler'"):
            await connect(url, user="scheduler", password="wrong")
    started = time.monotonic()
    with pytest.raises(CannotConnect, match=r"no broker answered at nats://127.0.0.1:\d+ within 0.5 s"):
        await connect(url, user="scheduler", password="pw", first_s=0.5)
    assert time.monotonic() - started < 2


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.fail("needs openssl to make a certificate: apt-get install openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


async def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with Broker.start(tmp_path / "store", ACCOUNTS, tls_cert=cert, tls_key=key) as broker:
        connection = await connect(broker.url, user="bootstrap", password="pw", tls=TlsFiles(ca=cert))
        await bootstrap(connection, ACCOUNTS)
        await connection.close()
        with pytest.raises(AccessRefused, match="TLS"):
            await connect(broker.url, user="bootstrap", password="pw", tls=TlsFiles())


@pytest.mark.parametrize(
    ("user", "role", "lane"),
    [
        ("a b", "viewer", None),
        ("A", "viewer", None),
        ("x>", "viewer", None),
        ("x", "dispatcher", None),
        ("x", "viewer", "local"),
    ],
)
def test_account_that_makes_no_sense_is_refused(user: str, role: str, lane: str | None) -> None:
    with pytest.raises(ValueError, match="account"):
        Account(user=user, password="pw", role=role, lane=lane)  # type: ignore[arg-type]
