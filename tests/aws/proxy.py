"""A proxy before moto that refuses, throttles, hangs up, loses answers and cuts bodies, as told; and counts requests.

Runs in a thread of the test with an event loop of its own. A fault is used up by the requests it hits.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"connection", "content-length", "date", "host", "server", "transfer-encoding", "expect"}
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Fault:
    """What happens to the next ``times`` requests that match."""

    kind: str
    """``denied``, ``slow-down``, ``away`` (hangs up), ``lost-answer`` (done, then hangs up), ``cut`` (half the body)."""
    method: str = ""
    part: str = ""
    """Of path and query; empty matches all."""
    unless: str = " "
    """Spares what has this in path and query."""
    times: int = 1
    when: Callable[[], bool] = lambda: True

    def hits(self, request: web.Request) -> bool:
        where = request.path_qs
        is_meant = self.method in ("", request.method) and self.part in where and self.unless not in where
        return self.times > 0 and is_meant and self.when()


@dataclass
class Proxy:
    """Where to send requests, what goes wrong, and what came through."""

    target: str
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    """Requests that reached moto, by method."""
    hit: Counter[str] = field(default_factory=Counter)
    """Faults that happened, by kind."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        fault = next((fault for fault in self.faults if fault.hits(request)), None)
        if fault is not None:
            fault.times -= 1
            self.hit[fault.kind] += 1
        kind = fault.kind if fault is not None else ""
        if kind == "away":
            return hang_up(request)
        if kind == "cut":
            await request.content.read(request.content_length // 2 if request.content_length else 1)
            return hang_up(request)
        body = await request.read()
        if kind == "denied":
            body = b"<ErrorResponse>" + DENIED + b"</ErrorResponse>" if request.path == "/" else DENIED
            return web.Response(status=403, body=body, content_type="application/xml")
        if kind == "slow-down":
            return web.Response(status=503, body=SLOW_DOWN, content_type="application/xml")
        answer = await self.forward(request, body)
        return hang_up(request) if kind == "lost-answer" else answer

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        self.seen[request.method] += 1
        async with self.session.request(
            request.method, self.target + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            data = await answer.read()
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            response = web.Response(status=answer.status, body=data)
            response.headers.clear()
            response.headers.extend(kept)
            if request.method == "HEAD":
                response.headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            return response

    async def serve(self, is_up: threading.Event, stop: asyncio.Event) -> None:
        self.session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{anything:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        is_up.set()
        await stop.wait()
        await runner.cleanup()
        await self.session.close()


def hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@contextmanager
def proxy_before(target: str) -> Iterator[Proxy]:
    """A proxy that works until the block ends."""
    proxy, is_up, loop, stop = Proxy(target), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.serve(is_up, stop)), daemon=True)
    thread.start()
    assert is_up.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
