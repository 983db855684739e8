"""Credentials files over TLS on the shipped configuration: who is let in, who is not any more, and what is said."""

import asyncio
import datetime
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pto_bus.accounts import add_account, credentials_file, read_accounts, revoke_keys, rotate_key
from pto_bus.connect import TlsFiles, connect
from pto_bus.errors import AccessRefused, BusError
from pto_bus.event_log import NatsEventLog
from pto_bus.live import LiveChannel
from pto_bus.topology import Account
from pto_ports.event_log import Outgoing
from pto_proto.ids import Lane
from pto_proto.subjects import AUDIT_SUBJECT

from .servers import Keyed, Server, accounts_in, make_certificates, until

BIN = Path(sys.executable).parent


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[Keyed]:
    make_certificates(tmp_path / "tls")
    accounts = accounts_in(tmp_path / "accounts")
    server = Server(tmp_path / "broker", "server.conf", tls=tmp_path / "tls", users=accounts).start()
    broker = Keyed(server, accounts)
    await broker.set_up()
    yield broker
    server.end()


def accounts(*words: str, code: int = 0) -> str:
    done = subprocess.run([BIN / "orchestrator", "accounts", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_every_account_is_let_in_with_its_own_key_alone(keyed: Keyed) -> None:
    for account in keyed.accounts:
        await (await keyed.connect(account.user)).close()
    with pytest.raises(AccessRefused, match="may have been revoked"):
        await keyed.connect("scheduler", credentials=foreign_key(keyed.folder.parent))
    with pytest.raises(AccessRefused, match="check its password"):
        await keyed.connect("scheduler", credentials=None, password="guessed")
    with pytest.raises(AccessRefused, match="check its password"):
        await keyed.connect("scheduler", credentials=None)


async def test_a_key_gives_its_account_s_rights_whatever_name_is_claimed(keyed: Keyed) -> None:
    refused = asyncio.get_running_loop().create_future()

    async def on_error(error: Exception) -> None:
        if not refused.done():
            refused.set_result(str(error))

    options = {**keyed.options("viewer"), "user": "scheduler"}
    client = await nats.connect(keyed.url, error_cb=on_error, **options)
    await client.publish("pto.run-accepted._.run-0001", b"{}")
    assert "pto.run-accepted._.run-0001" in await asyncio.wait_for(refused, 5)
    await client.close()


async def test_a_rotated_key_works_beside_the_old_one_until_that_is_revoked(keyed: Keyed, tmp_path: Path) -> None:
    old = tmp_path / "old.nk"
    shutil.copy(credentials_file(keyed.folder, "planner"), old)
    rotate_key(keyed.folder, "planner")
    keyed.server.read_users(keyed.folder)
    keyed.server.wait_log("Reloaded server configuration")
    running = await keyed.connect("planner", credentials=old)
    await (await keyed.connect("planner")).close()
    revoke_keys(keyed.folder, "planner", former=True)
    keyed.server.read_users(keyed.folder)
    keyed.server.wait_log("Reloaded server configuration", 2)
    with pytest.raises(AccessRefused):
        await keyed.connect("planner", credentials=old)
    await until(lambda: running.fatal is not None)
    with pytest.raises(AccessRefused, match="may have been revoked"):  # what ran on the old key is cut off
        await NatsEventLog(running).last_seq()
    await (await keyed.connect("planner")).close()
    await running.close()


async def test_revoking_ends_the_account_and_touches_no_other(keyed: Keyed) -> None:
    other = await keyed.connect("viewer")
    revoke_keys(keyed.folder, "requester", former=False)
    keyed.server.read_users(keyed.folder)
    keyed.server.wait_log("Reloaded server configuration")
    with pytest.raises(AccessRefused):
        await keyed.connect("requester")
    assert await NatsEventLog(other, "PTO_VIEW").last_seq() == 0
    assert other.is_up
    assert other.client.stats["reconnects"] == 0
    await other.close()


async def test_who_is_added_may_ask_and_is_heard_and_nobody_else_notices(keyed: Keyed) -> None:
    scheduler, heard = await keyed.connect("scheduler"), asyncio.Event()
    await LiveChannel(scheduler).listen(AUDIT_SUBJECT, lambda subject, data: heard.set())
    add_account(keyed.folder, Account(user="alice", role="requester"))
    add_account(keyed.folder, Account(user="dispatcher-far", role="dispatcher", lane=Lane("far")))
    for count in (1, 2):
        keyed.server.read_users(keyed.folder)
        keyed.server.wait_log("Reloaded server configuration", count)
        if count == 1:  # a person is there at once
            alice = await keyed.connect("alice")
            assert await NatsEventLog(alice, "PTO_VIEW").last_seq() == 0
            await LiveChannel(alice).send(AUDIT_SUBJECT, b"{}")
            await asyncio.wait_for(heard.wait(), 5)
    await keyed.set_up()
    far = await keyed.connect("dispatcher-far")
    assert await NatsEventLog(far).append([Outgoing("pto.task-finished.far.run-0001", b"x", "")]) == 1
    assert scheduler.client.stats["reconnects"] == 0
    for connection in (alice, far, scheduler):
        await connection.close()


async def test_only_a_broker_with_a_good_certificate_of_the_known_ca_is_talked_to(keyed: Keyed, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other")
    with pytest.raises(AccessRefused, match="TLS"):
        await keyed.connect("viewer", tls=TlsFiles(ca=tmp_path / "other" / "ca.pem"))
    with pytest.raises(AccessRefused, match="TLS"):
        await keyed.connect("viewer", tls=TlsFiles())
    keyed.server.end()
    for made in (expired, for_another_name):
        made(keyed.server.tls)
        keyed.server.start()
        with pytest.raises(AccessRefused, match="TLS"):
            await keyed.connect("viewer")
        keyed.server.end()


async def test_plain_text_and_old_tls_are_refused(keyed: Keyed) -> None:
    with pytest.raises(BusError):
        await connect(keyed.url.replace("tls", "nats"), user="viewer", password="x")
    old = keyed.tls.context()
    old.maximum_version = __import__("ssl").TLSVersion.TLSv1_2
    with pytest.raises(Exception, match=r"(?i)alert|ssl|version"):
        await nats.connect(keyed.url, **{**keyed.options("viewer"), "tls": old}, allow_reconnect=False, error_cb=ignore)


@pytest.mark.parametrize("text", ["", "SUAB", "not a key", "U" * 56])
async def test_what_is_no_credentials_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "creds"
    path.write_text(text)
    with pytest.raises(AccessRefused, match="holds neither an nkey's seed nor a JWT"):
        await connect("nats://127.0.0.1:1", user="x", credentials=path)
    with pytest.raises(AccessRefused, match="cannot be used for TLS"):
        await connect("nats://127.0.0.1:1", user="x", password="x", tls=TlsFiles(ca=path))


def test_private_keys_are_in_private_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "accounts"
    accounts("init", str(folder), "--lane", "local", "--lane", "slurm-x")
    accounts("add", str(folder), "alice", "--role", "requester")
    accounts("add", str(folder), "relay-x", "--role", "relay", "--lane", "slurm-x")
    accounts("rotate", str(folder), "alice")
    seeds = {path.read_text().strip() for path in (folder / "credentials").iterdir()}
    assert len(seeds) == len(read_accounts(folder))
    for path in folder.rglob("*"):
        if path.is_file() and any(seed in path.read_text() for seed in seeds):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            assert path.parent.name in ("credentials", "relay-x"), path
    assert [account.user for account in read_accounts(folder) if len(account.keys) > 1] == ["alice"]
    files = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    (folder / "users.conf").write_text("as another version wrote it")
    accounts("render", str(folder))
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "F", "bob", "--role", "king"], "there is no role 'king'; use bootstrap, scheduler"),
        (["add", "F", "Bob", "--role", "viewer"], "cannot name an account"),
        (["add", "F", "bob", "--role", "operator"], "are named operator or operator-"),
        (["add", "F", "operator-b", "--role", "requester"], "are named operator or operator-"),
        (["add", "F", "bob", "--role", "dispatcher"], "needs a lane, such as local"),
        (["add", "F", "bob", "--role", "dispatcher", "--lane", "Bad Lane"], "is no lane"),
        (["add", "F", "bob", "--role", "requester", "--lane", "local"], "has no lane"),
        (["add", "F", "viewer", "--role", "viewer"], "there is an account 'viewer' already"),
        (["add", "F", "bob"], "add needs it"),
        (["rotate", "F"], "needs the name of a USER"),
        (["rotate", "F", "nobody"], "there is no account 'nobody'"),
        (["revoke", "F", "nobody"], "there is no account 'nobody'"),
        (["init", "F"], "holds accounts already"),
        (["list", "G"], "`orchestrator accounts init"),
        (["init", "G", "--lane", "No Lane"], "cannot name an account"),
        (["list", "F", "--former"], "--former goes with revoke"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    accounts_in(tmp_path / "F")
    before = json.dumps([vars(account) for account in read_accounts(tmp_path / "F")])
    said = accounts(*(str(tmp_path / word) if word in "FG" else word for word in words), code=2)
    assert sentence in said
    assert said.count("\n") == 1
    assert json.dumps([vars(account) for account in read_accounts(tmp_path / "F")]) == before


def foreign_key(folder: Path) -> Path:
    """A key that the broker does not know."""
    return credentials_file(accounts_in(folder / "elsewhere"), "scheduler")


async def ignore(error: Exception) -> None:
    pass


def expired(tls: Path) -> None:
    _certify(tls, "127.0.0.1", days=-1)


def for_another_name(tls: Path) -> None:
    _certify(tls, "192.0.2.1", days=2)


def _certify(tls: Path, address: str, *, days: int) -> None:
    """A server certificate of the folder's CA that ends in so many days."""
    import ipaddress

    ca = x509.load_pem_x509_certificate((tls / "ca.pem").read_bytes())
    ca_key: Any = serialization.load_pem_private_key((tls / "ca-key.pem").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tls / "server-key.pem").write_bytes(private)
    (tls / "server.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
