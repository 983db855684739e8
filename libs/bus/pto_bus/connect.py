"""Connects to the broker as one account. Imports nats-py, limits and errors.

Invariant: a connection that was once made reconnects for ever, unless the broker does not let its account in any more;
the first one gives up after FIRST_CONNECT_S with one clear sentence. A permission violation is a fault of the program:
it ends every wait on this connection with NotAllowed instead of letting it time out.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from pto_bus import limits
from pto_bus.errors import AccessRefused, BusError, CannotConnect, NotAllowed
from pto_bus.topology import API, inbox_prefix
from pto_ports.event_log import LogUnavailable


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Certificates: ``ca`` to trust besides the system's, ``cert`` and ``key`` to show (mutual TLS)."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A client context that checks the broker's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


class ApiError(Exception):
    """The broker's API refused a request; ``err_code`` says why, the text is for people."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.code = code
        self.err_code = err_code


class Connection:
    """One connection of one account. Made by ``connect``; shared by all adapters of a service."""

    def __init__(self, url: str, user: str) -> None:
        self.url = url
        self.user = user
        self.client = Client()
        self.proof = "password"
        """With what the account proves who it is, for the sentence that says that it did not."""
        self.fatal: BusError | None = None
        """Why this connection cannot be used any more."""
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits: set[asyncio.Future[Any]] = set()
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._asked = 0
        self._inbox = ""
        self._listeners: list[Callable[[], None]] = []
        self._has_left = False
        """Whether it is closed and not just closing."""
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether the broker is connected at this moment."""
        return bool(self.client.is_connected)

    def check(self) -> None:
        """Raise what made this connection unusable, if anything did."""
        if self.fatal is not None:
            raise self.fatal

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every reconnect and when the connection became unusable."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Undo ``listen``."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def new_wait(self) -> "asyncio.Future[Any]":
        """A future that also ends, with NotAllowed, when this connection becomes unusable."""
        self.check()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waits.add(future)
        future.add_done_callback(self._waits.discard)
        return future

    def expect(self) -> "tuple[str, asyncio.Future[Msg]]":
        """A fresh reply subject and the future of the one answer that is sent there."""
        self._asked += 1
        token = str(self._asked)
        wait = self.new_wait()
        self._answers[token] = wait
        wait.add_done_callback(lambda _: self._answers.pop(token, None))
        return f"{self._inbox}.{token}", wait

    async def open_inbox(self) -> None:
        """Listen for answers: one subscription for all questions of this connection."""
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._on_answer, pending_msgs_limit=0, pending_bytes_limit=0)

    async def _on_answer(self, message: Msg) -> None:
        wait = self._answers.get(message.subject.rsplit(".", 1)[1])
        if wait is not None and not wait.done():
            wait.set_result(message)

    async def publish(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Send one message, without any promise. Raises NotAllowed; LogUnavailable when it was surely not sent."""
        self.check()
        try:
            await self.client.publish(subject, data, reply=reply, headers=headers)
        except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError) as error:
            raise LogUnavailable(f"the broker at {self.url} is not connected") from error

    async def ask(self, subject: str, data: bytes = b"", timeout_s: float = limits.REQUEST_S) -> Msg:
        """One question, one answer. Raises LogUnavailable when there is none in time, NotAllowed."""
        self.check()
        if not self.is_up:
            raise LogUnavailable(f"the broker at {self.url} is not connected")
        reply, wait = self.expect()
        try:
            await self.publish(subject, data, reply=reply)
            answer = await asyncio.wait_for(wait, timeout_s)
        except TimeoutError as error:
            raise LogUnavailable(f"the broker at {self.url} did not answer within {timeout_s:g} s") from error
        finally:
            wait.cancel()
        if status_of(answer) == "503":
            raise LogUnavailable(
                f"nobody at {self.url} answers on {subject}: the broker is starting or has no JetStream"
            )
        return answer

    async def api(self, verb: str, body: Any = None, timeout_s: float = limits.REQUEST_S) -> dict[str, Any]:
        """Ask the JetStream API. Raises ApiError, and what ``ask`` raises."""
        data = b"" if body is None else msgspec.json.encode(body)
        answer = await self.ask(f"{API}.{verb}", data, timeout_s)
        reply: dict[str, Any] = msgspec.json.decode(answer.data)
        if "error" in reply:
            error = reply["error"]
            raise ApiError(error.get("code", 0), error.get("err_code", 0), error.get("description", ""))
        return reply

    async def close(self) -> None:
        """End the connection; what was sent is flushed if the broker is there."""
        self._listeners.clear()
        self._has_left = False  # what goes wrong while it closes is no reason to end anybody
        try:
            await self.client.close()
            if not self.client.is_closed:  # it connected again meanwhile
                await self.client.close()
        finally:
            self._has_left = True

    async def on_error(self, error: Exception) -> None:
        """nats-py's asynchronous errors: only a refused action or user matters here, the rest is retried anyway.

        nats-py's attempts to connect end by being cancelled. A cancellation that met an answer on its way got lost, and
        they would go on for ever, and with them the process that waits for its tasks: so the next one ends here.
        """
        if self._has_left:
            raise asyncio.CancelledError
        text = str(error).lower()
        if "permissions violation" in text:
            is_other = inbox_prefix(self.user).lower() in text  # every account may listen to its own answers
            hint = "; is that which proves who it is (PTO_CREDS) another account's?" if is_other else ""
            self.fail(NotAllowed(f"account {self.user!r} at {self.url} may not do this: {error}{hint}"))
        elif ("authorization violation" in text or "authentication" in text) and "timeout" not in text:
            refused = AccessRefused(f"the broker at {self.url} refused user {self.user!r}: check its {self.proof}")
            if self.refused.done():  # it was let in before: its password or key was taken away
                self.fail(refused)
            else:
                self.refused.set_exception(refused)
        elif isinstance(error, ssl.SSLError) and not self.refused.done():
            self.refused.set_exception(
                AccessRefused(
                    f"TLS with the broker at {self.url} failed ({error.reason}): check the CA and certificates"
                )
            )

    async def on_disconnected(self) -> None:
        """nats-py lost the broker: no answer to what was asked before can come any more."""
        for wait in list(self._answers.values()):
            if not wait.done():
                wait.set_exception(
                    LogUnavailable(f"the connection to the broker at {self.url} broke before the answer")
                )
                wait.exception()

    async def on_reconnected(self) -> None:
        """nats-py connected again: readers start their consumers anew."""
        if self._has_left:  # an attempt that did not hear of it; it cannot close what it is part of
            self._closing = asyncio.create_task(self.client.close())
            return
        for listener in list(self._listeners):
            listener()

    def fail(self, error: BusError) -> None:
        """Make this connection unusable and end every wait on it."""
        if self.fatal is None:
            self.fatal = error
        for wait in list(self._waits):
            if not wait.done():
                wait.set_exception(error)
                wait.exception()  # whoever waits gets it; a wait that nobody awaits any more must not be reported
        for listener in list(self._listeners):
            listener()


async def connect(
    url: str,
    *,
    user: str,
    password: str | None = None,
    credentials: Path | None = None,
    tls: TlsFiles | None = None,
    name: str = "",
    first_s: float = limits.FIRST_CONNECT_S,
) -> Connection:
    """Connect as ``user`` with a password or a credentials file. Raises CannotConnect, AccessRefused.

    ``url``: an address, or those of a cluster's servers with commas between them.
    """
    connection = Connection(url, user)
    options: dict[str, Any] = {}
    if tls is not None:
        options["tls"] = _tls_context(tls)
    if credentials is not None:
        options.update(_credentials(credentials))
        connection.proof = f"credentials file {credentials}; it may have been revoked"
    else:
        options.update(user=user, password=password)
        if not password:
            connection.proof += ", which is empty: set PTO_CREDS or PTO_PASSWORD"
    first = asyncio.ensure_future(
        connection.client.connect(
            servers=[server.strip() for server in url.split(",")],
            name=name or user,
            error_cb=connection.on_error,
            reconnected_cb=connection.on_reconnected,
            disconnected_cb=connection.on_disconnected,
            max_reconnect_attempts=-1,
            reconnect_time_wait=limits.RECONNECT_WAIT_S,  # type: ignore[arg-type]  # annotated int, used as seconds
            connect_timeout=limits.ATTEMPT_S,
            ping_interval=limits.PING_INTERVAL_S,
            inbox_prefix=inbox_prefix(user),
            **options,
        )
    )
    try:
        await asyncio.wait({first, connection.refused}, timeout=first_s, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            first.result()
            await connection.open_inbox()
            return connection
        if connection.refused.done():
            connection.refused.result()
        raise CannotConnect(f"no broker answered at {url} within {first_s:g} s: check the address, or start the broker")
    except (nats.errors.Error, OSError, ValueError) as error:
        raise CannotConnect(f"cannot connect to a broker at {url}: {error}") from error
    finally:
        if not first.done():
            first.cancel()
            await connection.close()
            await asyncio.gather(first, return_exceptions=True)
            await connection.close()  # if it was made at the last moment
        if not connection.refused.done():
            connection.refused.cancel()


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """asyncio warns of every TLS connection that is closed while asyncio's own streams are used, as nats-py does."""
    return "eof_received() has no effect" not in record.msg


def _tls_context(tls: TlsFiles) -> ssl.SSLContext:
    logging.getLogger("asyncio").addFilter(_is_worth_a_line)  # the same one again is not added
    try:
        return tls.context()
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(str(path) for path in (tls.ca, tls.cert, tls.key) if path is not None)
        raise AccessRefused(f"{names}: cannot be used for TLS: {error}") from error


def _credentials(path: Path) -> dict[str, Any]:
    """What nats-py has to be told of this file: an nkey's seed, or a JWT with its seed."""
    import nkeys

    try:
        text = path.read_text("ascii")
        if "BEGIN NATS USER JWT" in text:
            return {"user_credentials": str(path)}
        nkeys.from_seed(bytearray(text.strip().encode()))
    except (OSError, UnicodeError) as error:
        raise AccessRefused(f"the credentials file {path} cannot be read: {error}") from error
    except (nkeys.NkeysError, ValueError) as error:
        raise AccessRefused(f"the credentials file {path} holds neither an nkey's seed nor a JWT") from error
    return {"nkeys_seed": str(path)}


def status_of(message: Msg) -> str:
    """The broker's status code on a message (``100``, ``404``, ...), or the empty string."""
    headers = message.headers
    return str(headers.get("Status", "")) if headers else ""


async def end_subscription(subscription: Any) -> None:
    """Unsubscribe, whatever state the connection is in."""
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, OSError):
        return
