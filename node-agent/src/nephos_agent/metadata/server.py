"""The metadata service: the agent itself, listening inside the service namespace of every network.

A guest is known by the socket that it reached (its network) and by its source address. Both are facts: the filters let
a port use only its own address and MAC, in ARP and ND too, and frames of other hosts never reach the service. What a
request claims of itself (X-Forwarded-For and the like) is not looked at.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from nephos_agent.metadata.documents import RANDOM_SEED_BYTES, read, tree
from nephos_agent.metadata.source import MetadataSource

_METHODS: Final = frozenset({"GET", "HEAD"})
_SHUTDOWN_S: Final = 1.0
_RETRY_AFTER_S: Final = 1
_IDLE_S: Final = 10.0
"""After so long without a request, which may be since it was opened, a connection is closed."""
_MOST_OF_A_GUEST: Final = 16
_MOST_OF_A_NETWORK: Final = 256
"""Connections at a time; cloud-init has one or two."""


@dataclass
class _Site:
    """A network's listeners."""

    server: web.Server
    listeners: list[asyncio.Server] = field(default_factory=list)


class _BoundedServer(web.Server):
    """An HTTP server that no guest can exhaust: beyond the bounds the connections that were opened first give way."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(handler, access_log=None, keepalive_timeout=_IDLE_S)
        self._open: dict[RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take note of a connection."""
        super().connection_made(handler, transport)
        self._open[handler] = transport
        of_guest = [each for each, opened in self._open.items() if _source(opened) == _source(transport)]
        self._abort(of_guest[:-_MOST_OF_A_GUEST])
        self._abort(list(self._open)[:-_MOST_OF_A_NETWORK])

    def _abort(self, handlers: Iterable[RequestHandler]) -> None:
        for each in handlers:
            self._open.pop(each).abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)


def _source(transport: asyncio.Transport) -> str:
    return str((transport.get_extra_info("peername") or ("",))[0])


class MetadataServer:
    """``GuestServices``: one HTTP server a network, all of them in this process."""

    def __init__(self, source: MetadataSource) -> None:
        self._source = source
        self._sites: dict[str, _Site] = {}
        self._ports: dict[str, Mapping[str, str]] = {}

    def is_serving(self, network_uid: str) -> bool:
        """See ``GuestServices.is_serving``."""
        return network_uid in self._sites

    async def serve(self, network_uid: str, listeners: Sequence[socket.socket]) -> None:
        """See ``GuestServices.serve``."""
        await self._stop(network_uid)
        site = _Site(_BoundedServer(partial(self._answer, network_uid)))
        loop = asyncio.get_running_loop()
        for listener in listeners:
            site.listeners.append(await loop.create_server(site.server, sock=listener))
        self._sites[network_uid] = site

    def describe(self, network_uid: str, ports: Mapping[str, str]) -> None:
        """See ``GuestServices.describe``."""
        self._ports[network_uid] = ports

    async def leave(self, network_uid: str) -> None:
        """See ``GuestServices.leave``."""
        await self._stop(network_uid)
        self._ports.pop(network_uid, None)

    async def close(self) -> None:
        """Close every listener; guests ask again."""
        for network_uid in tuple(self._sites):
            await self._stop(network_uid)

    async def _stop(self, network_uid: str) -> None:
        site = self._sites.pop(network_uid, None)
        if site is None:
            return
        for listener in site.listeners:
            listener.close()
        await site.server.shutdown(_SHUTDOWN_S)

    async def _answer(self, network_uid: str, request: web.BaseRequest) -> web.Response:
        if request.method not in _METHODS:
            return web.Response(status=405, headers={"Allow": ", ".join(sorted(_METHODS))})
        port_uid = self._ports.get(network_uid, {}).get(_source_address(request))
        if port_uid is None:
            return web.Response(status=404)
        guest = self._source.guest(port_uid)
        if guest is None:
            return web.Response(status=503, headers={"Retry-After": str(_RETRY_AFTER_S)})
        text = read(tree(guest, os.urandom(RANDOM_SEED_BYTES)), request.path)
        if text is None:
            return web.Response(status=404)
        kind = "application/json" if request.path.endswith(".json") else "text/plain"
        return web.Response(body=text.encode(), content_type=kind, charset="utf-8")


def _source_address(request: web.BaseRequest) -> str:
    """Return the address that the connection comes from, without the interface of a link-local one."""
    address = (request.remote or "").partition("%")[0]
    return str(IPv6Address(address)) if ":" in address else address
