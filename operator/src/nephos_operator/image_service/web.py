"""Requests to addresses that strangers name: only permitted ones are ever connected to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp import ClientConnectorCertificateError, ClientConnectorDNSError, ClientConnectorSSLError, InvalidURL
from yarl import URL

from nephos_api.errors import NephosError, PermanentFault, TemporaryFault
from nephos_operator.image_service.addresses import AddressPolicy

SILENCE_S: Final = 60.0
"""A server that says nothing for so long is given up."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=SILENCE_S)
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "nephos-image-service"}


class Gate:
    """Makes the sockets of a session, for permitted addresses only.

    It is asked with the very address that is then connected to, so that no name can resolve to one thing when it is
    checked and to another when it is used.
    """

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self.opened = 0
        self.refused = 0

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        """Make a socket for an entry of ``getaddrinfo``. Raises ``OSError`` for an address that is not permitted."""
        family, kind, protocol, _, address = info
        if not self._policy.permits(str(address[0])):
            self.refused += 1
            raise PermissionError("address not permitted")
        self.opened += 1
        return socket.socket(family, kind, protocol)

    @property
    def refused_all(self) -> bool:
        """Whether there were addresses and none was permitted."""
        return bool(self.refused and not self.opened)


@asynccontextmanager
async def get(url: URL, headers: dict[str, str], policy: AddressPolicy) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask once, redirects not followed. What goes wrong inside the block is turned into faults too."""
    gate = Gate(policy)
    try:
        connector = aiohttp.TCPConnector(socket_factory=gate, use_dns_cache=False, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False) as session,
            session.get(url, headers=_HEADERS | headers, allow_redirects=False) as response,
        ):
            yield response
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError, UnicodeError) as error:
        raise _fault(error, url, gate) from error


def _fault(error: Exception, url: URL, gate: Gate) -> NephosError:
    if gate.refused_all:
        return PermanentFault(
            f"{url.host} is at an address that images may not come from (private, local or of the cluster); "
            "use a public address, or ask the cloud's operator to allow it",
            reason="ForbiddenAddress",
        )
    match error:
        case InvalidURL():
            return PermanentFault(f"{url} is no usable URL", reason="InvalidURL")
        case ClientConnectorDNSError():
            return TemporaryFault(f"the name {url.host} can't be resolved", reason="NameNotResolved")
        case ClientConnectorCertificateError() | ClientConnectorSSLError() | ssl.SSLError():
            return TemporaryFault(f"the certificate of {url.host} can't be trusted", reason="SourceUntrusted")
        case TimeoutError():
            return TemporaryFault(f"{url.host} does not answer", reason="SourceUnavailable")
    return TemporaryFault(f"the connection to {url.host} failed: {type(error).__name__}", reason="SourceUnavailable")
