"""What the tests of the image service share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web


@dataclass
class WebServer:
    """Serves ``content`` at /image. It can break off, refuse, redirect, and change its mind."""

    content: bytes
    etag: str = '"1"'
    break_after: int | None = None
    """Break the connection after so many bytes of an answer."""
    hold_after: int | None = None
    """Stop sending after so many bytes, until ``released``."""
    status: int | None = None
    requests: list[str] = field(default_factory=list)
    """The Range of each request, or an empty string."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def url(self, path: str = "/image") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.headers.get("Range", ""))
        if self.status is not None:
            return web.Response(status=self.status)
        start, total = self._start(request), len(self.content)
        if start >= total:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
        response = web.StreamResponse(status=206 if start else 200, headers={"ETag": self.etag})
        response.content_length = total - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        await response.prepare(request)
        await self._send(request, response, self.content[start:])
        return response

    async def redirect(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def _send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> None:
        for sent in range(0, len(body), 65_536):
            if self.break_after is not None and sent >= self.break_after:
                assert request.transport
                request.transport.close()
                return
            if self.hold_after is not None and sent >= self.hold_after:
                self.held.set()
                await self.released.wait()
            await response.write(body[sent : sent + 65_536])

    def _start(self, request: web.Request) -> int:
        asked = request.headers.get("Range")
        if asked is None or request.headers.get("If-Range") != self.etag:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))


@asynccontextmanager
async def serving(server: WebServer) -> AsyncIterator[WebServer]:
    app = web.Application()
    app.add_routes([web.get("/image", server.answer), web.get("/redirect", server.redirect)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        server.released.set()
        await runner.cleanup()


@pytest.fixture
async def web_server() -> AsyncIterator[WebServer]:
    """A web server with a raw image of 4 MiB."""
    async with serving(WebServer(bytes(range(256)) * (16 << 10))) as server:
        yield server
