"""The HTTP side of an observer: ``/healthz``, ``/readyz`` and ``/metrics``.

Imports aiohttp and siblings. Invariants: it runs in the service's own event loop, so that an answer proves that the
loop turns; it changes nothing and shows nothing but what the metrics name.
"""

import asyncio

from aiohttp import web

from pto_observe.observer import ServiceObserver


class StatusServer:
    """Listens from ``open`` to ``close``."""

    def __init__(self, observer: ServiceObserver, host: str, port: int) -> None:
        self._observer = observer
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.port = 0
        """The port it listens on, which the system chose if 0 was asked for."""

    async def open(self) -> None:
        """Listen. Raises OSError."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
        await asyncio.to_thread(self._observer.close)

    async def _healthz(self, _: web.Request) -> web.Response:
        """The process lives and its event loop turns; restart it when this does not answer."""
        return web.json_response({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        """It has read its log to the head and the log answers; 503 with the reason otherwise."""
        reason = await self._observer.not_ready()
        if reason:
            return web.json_response({"status": "not ready", "reason": reason}, status=503)
        role = self._observer.role()
        return web.json_response({"status": "ready", **({"role": role} if role else {})})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._observer.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})
