"""HTTP to the API server: where it is, who we are, what its answers mean.

Configuration, TLS and tokens are the ``kubernetes`` package's work; answers stay plain JSON, which pydantic's parser
reads in a third of the time of the standard library's: watches of a large cloud are mostly that.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import structlog
from pydantic_core import from_json

from nephos_api.errors import ApiUnavailable, Conflict, Expired, NephosError, Refused
from nephos_api.kube.aio_client import (
    ConfigException,
    Configuration,
    RESTClientObject,
    load_incluster_config,
    load_kube_config,
)

log = structlog.get_logger(__name__)

CALL_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
"""For one call, in seconds. API servers bound requests to 60 s; more than half of it is no answer."""

MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

_UNAVAILABLE_CODES: Final = frozenset({401, 408, 429})
"""Beside 5xx. 401 comes here only after the credentials were read again: they may be renewed soon."""

_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""A watch may be silent for minutes: the kernel finds out within 30 s that its peer is gone."""


_TLS_BUFFER_BYTES: Final = 32 * 1024
"""What asyncio sets aside for each TLS connection of the process, instead of 256 KiB: a watch is one, mostly silent."""


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"
    bounds: aiohttp.ClientTimeout = CALL_TIMEOUT


class Transport:
    """Requests with the credentials of a kubeconfig or of the pod; a 401 has them read again, once a request."""

    def __init__(self, configuration: Configuration, kubeconfig: str | None, user_agent: str) -> None:
        self._configuration = configuration
        self._kubeconfig = kubeconfig
        self._rest: RESTClientObject = _KeptAliveRest(configuration)
        self._user_agent = user_agent

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any] | None:
        """Return the answer's JSON, None for 404; raise what the answer means otherwise."""
        async with self._respond(_Request(method, path, query, body, content_type)) as response:
            if response.status == 404:
                await response.read()
                return None
            if response.status >= 400:
                raise await _fault_of(response)
            answer: dict[str, Any] = from_json(await response.read())
            return answer

    async def stream(self, path: str, query: Mapping[str, str], *, silence_s: float) -> AsyncIterator[dict[str, Any]]:
        """Yield the JSON lines of a watch until the server ends it; ``ApiUnavailable`` after that long a silence."""
        bounds = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence_s)
        async with self._respond(_Request("GET", path, query, bounds=bounds)) as response:
            if response.status >= 400:
                raise await _fault_of(response)
            async for line in response.content:
                yield from_json(line)

    @asynccontextmanager
    async def _respond(self, request: _Request) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            response = await self._send(request)
            if response.status == 401 and await self._reload():
                response.close()
                response = await self._send(request)
            # Leaving it closes the connection of a stream that was not read to its end, and keeps the others'.
            async with response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiUnavailable(f"{request.method} {request.path}: {type(error).__name__}: {error}") from error

    async def _send(self, request: _Request) -> aiohttp.ClientResponse:
        headers = {
            "Content-Type": request.content_type,
            "Accept": "application/json",
            "User-Agent": self._user_agent,
        }
        if token := await self._configuration.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        url = self._configuration.host + request.path
        if request.query:
            url += f"?{urlencode(request.query)}"
        answer = await self._rest.request(
            request.method, url, headers=headers, body=request.body, _request_timeout=request.bounds
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _reload(self) -> bool:
        """Read the credentials again; tell whether that could be done."""
        try:
            await _load(self._configuration, self._kubeconfig)
            if self._configuration.cert_file:
                await asyncio.to_thread(
                    self._rest.ssl_context.load_cert_chain, self._configuration.cert_file, self._configuration.key_file
                )
        except (ConfigException, OSError) as error:
            log.warning("credentials could not be read again", error=str(error))
            return False
        return True


@asynccontextmanager
async def open_transport(kubeconfig: Path | None, user_agent: str) -> AsyncIterator[Transport]:
    """Open a transport with that kubeconfig, else ``$KUBECONFIG``, else the pod's service account."""
    path = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG")
    configuration = Configuration()
    try:
        await _load(configuration, path)
    except ConfigException as error:
        raise Refused(f"no credentials for the API server: {error}", code=0, reason="NoCredentials") from error
    transport = Transport(configuration, path, user_agent)
    try:
        yield transport
    finally:
        await transport.close()


def fault(code: int, status: Mapping[str, Any]) -> NephosError:
    """Return the error that an answer means: its HTTP code and its Status (meta/v1), if it has one."""
    message = status.get("message") or f"the API server answered {code}"
    if code in _UNAVAILABLE_CODES or code >= 500:
        return ApiUnavailable(message)
    if code == 409:
        return Conflict(message)
    if code == 410:
        return Expired(message)
    causes = (status.get("details") or {}).get("causes") or [{}]
    return Refused(message, code=code, reason=causes[0].get("reason") or status.get("reason") or "")


async def _fault_of(response: aiohttp.ClientResponse) -> NephosError:
    text = await response.text()
    try:
        status = json.loads(text)
    except ValueError:
        status = None
    return fault(response.status, status if isinstance(status, dict) else {"message": text[:1024]})


async def _load(configuration: Configuration, kubeconfig: str | None) -> None:
    if kubeconfig:
        await load_kube_config(kubeconfig, client_configuration=configuration, persist_config=False)
    else:
        load_incluster_config(configuration)


class _KeptAliveRest(RESTClientObject):
    def _create_connector(self) -> aiohttp.TCPConnector:
        # No limit: a watch holds its connection for as long as it lasts.
        SSLProtocol.max_size = _TLS_BUFFER_BYTES
        return aiohttp.TCPConnector(limit=0, ssl=self.ssl_context, socket_factory=_kept_alive_socket)


def _kept_alive_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made
