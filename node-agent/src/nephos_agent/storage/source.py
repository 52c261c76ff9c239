"""Where image content comes from: the image service, over mutual TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import aiohttp

from nephos_api.errors import TemporaryFault

CHUNK_BYTES: Final = 1 << 20
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_RANGE_NOT_SATISFIABLE: Final = 416


class ImageSource(Protocol):
    """Gives image content by its hash."""

    def read(self, sha256: str, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the content from that byte on. Raises ``TemporaryFault`` where it can't be had now."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of the cloud's CA and of this host's certificate and key; read anew for each fetch, as they rotate."""

    ca: Path
    certificate: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts the cloud's CA alone and presents this host's certificate."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True)
class ImageServiceSource:
    """The image service at ``url`` (``https://host:port``)."""

    url: str
    tls: TlsFiles

    async def read(self, sha256: str, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the content from that byte on."""
        try:
            context = await asyncio.to_thread(self.tls.client_context)
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=False) as session,
                session.get(f"{self.url.rstrip('/')}/images/{sha256}", headers=headers, ssl=context) as response,
            ):
                _check(response, sha256, offset)
                if response.status == _RANGE_NOT_SATISFIABLE:
                    return
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TemporaryFault(
                f"the image service at {self.url} does not deliver {sha256}: {error or type(error).__name__}",
                reason="ImageServiceUnavailable",
            ) from error


def _check(response: aiohttp.ClientResponse, sha256: str, offset: int) -> None:
    """Raise where the answer is not the content from ``offset`` on."""
    if response.status == 404:
        raise TemporaryFault(f"the image service does not have {sha256}", reason="ImageNotInStore")
    expected = {206, _RANGE_NOT_SATISFIABLE} if offset else {200}
    if response.status not in expected:
        raise TemporaryFault(
            f"the image service answers {response.status} {response.reason} for {sha256}",
            reason="ImageServiceUnavailable",
        )
