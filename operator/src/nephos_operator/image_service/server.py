"""Images for hosts: ``GET /images/<sha256>``, with ranges."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import hdrs, web

from nephos_operator.image_service.metrics import Metrics
from nephos_operator.image_service.store import Store
from nephos_operator.image_service.tls import is_host

_HASH: Final = re.compile(r"[0-9a-f]{64}")


def application(store: Store, metrics: Metrics) -> web.Application:
    """Return the server of images; it answers hosts alone."""

    async def send(request: web.Request) -> web.StreamResponse:
        if not is_host(request.get_extra_info("peercert")):
            raise web.HTTPForbidden(text="images are for hosts\n")
        sha256 = request.match_info["sha256"]
        if not _HASH.fullmatch(sha256) or not await asyncio.to_thread(store.has, sha256):
            raise web.HTTPNotFound(text="no such image\n")
        response = web.FileResponse(store.path(sha256), headers={hdrs.CONTENT_TYPE: "application/octet-stream"})
        await response.prepare(request)
        metrics.count_served(response.body_length)
        return response

    app = web.Application()
    app.add_routes([web.get("/images/{sha256}", send)])
    return app
