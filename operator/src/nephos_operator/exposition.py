"""One small server for Prometheus and for probes; each of the operator's processes has one."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest


def application(registry: CollectorRegistry, is_ready: Callable[[], bool]) -> web.Application:
    """Return the server of /metrics, /healthz and /readyz."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), content_type="text/plain")

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if is_ready() else web.Response(text="not yet\n", status=503)

    app = web.Application()
    app.add_routes([web.get("/metrics", show), web.get("/healthz", healthy), web.get("/readyz", ready)])
    return app
