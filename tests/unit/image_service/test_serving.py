"""Hosts fetch images from the service over mutual TLS: the service's server with the agent's own client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web

from nephos_agent.storage.source import ImageServiceSource
from nephos_agent.storage.source import TlsFiles as ClientFiles
from nephos_api import pki
from nephos_api.errors import TemporaryFault
from nephos_operator.image_service.metrics import Metrics
from nephos_operator.image_service.server import application
from nephos_operator.image_service.store import Store
from nephos_operator.image_service.tls import TlsFiles

NOW = datetime.now(UTC)
LOOPBACK = ip_address("127.0.0.1")
CONTENT = os.urandom(3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Pki:
    """A cloud's CA and certificates, another CA, and where they lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = pki.create_authority("cloud", now=NOW)
        self.other_authority = pki.create_authority("other", now=NOW)
        self.service = self.issue("service", self.authority, organizations=(), is_server=True)
        self.host = self.issue("h1", self.authority, organizations=("nephos-host",))
        self.stranger = self.issue("stranger", self.authority, organizations=("tenants",))
        self.foreigner = self.issue("foreigner", self.other_authority, organizations=("nephos-host",))

    def issue(
        self, name: str, authority: pki.Credential, *, organizations: tuple[str, ...], is_server: bool = False
    ) -> ClientFiles:
        addresses = (LOOPBACK,) if is_server else ()
        issued = pki.issue(authority, common_name=name, organizations=organizations, addresses=addresses, now=NOW)
        files = ClientFiles(self.folder / "ca.crt", self.folder / f"{name}.crt", self.folder / f"{name}.key")
        files.ca.write_bytes(self.authority.certificate_pem)
        files.certificate.write_bytes(issued.certificate_pem)
        files.key.write_bytes(issued.key_pem)
        return files


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def url(tmp_path: Path, trust: Pki) -> AsyncIterator[str]:
    store = Store(tmp_path)
    store.prepare()
    store.path(SHA256).write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"secret")
    files = TlsFiles(trust.service.ca, trust.service.certificate, trust.service.key)
    runner = web.AppRunner(application(store, Metrics()), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=files.server_context()).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read(url: str, files: ClientFiles, sha256: str = SHA256, offset: int = 0) -> bytes:
    return b"".join([chunk async for chunk in ImageServiceSource(url, files).read(sha256, offset)])


async def test_a_host_reads_an_image_whole_or_from_where_it_was(url: str, trust: Pki) -> None:
    assert await read(url, trust.host) == CONTENT
    assert await read(url, trust.host, offset=1_000_000) == CONTENT[1_000_000:]
    assert await read(url, trust.host, offset=len(CONTENT)) == b""


@pytest.mark.parametrize("who", ["stranger", "foreigner"])
async def test_who_is_no_host_of_this_cloud_reads_nothing(url: str, trust: Pki, who: str) -> None:
    with pytest.raises(TemporaryFault) as raised:
        await read(url, getattr(trust, who))
    assert raised.value.reason == "ImageServiceUnavailable"


@pytest.mark.parametrize("name", ["0" * 64, "secret", "..%2fsecret", "%2e%2e"])
async def test_what_is_not_in_the_store_is_not_served(url: str, trust: Pki, name: str) -> None:
    with pytest.raises(TemporaryFault) as raised:
        await read(url, trust.host, name)
    assert raised.value.reason == "ImageNotInStore"


async def test_a_service_that_is_away_is_worth_another_try(trust: Pki) -> None:
    with pytest.raises(TemporaryFault) as raised:
        await read("https://127.0.0.1:1", trust.host)
    assert raised.value.reason == "ImageServiceUnavailable"


async def test_a_service_of_another_cloud_is_not_believed(url: str, trust: Pki, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(trust.other_authority.certificate_pem)
    with pytest.raises(TemporaryFault):
        await read(url, ClientFiles(other, trust.host.certificate, trust.host.key))


async def test_a_renewed_certificate_is_taken_up_without_a_restart(url: str, trust: Pki) -> None:
    await read(url, trust.host)
    authority = trust.authority
    try:
        trust.authority = pki.create_authority("renewed", now=NOW)
        trust.issue("service", trust.authority, organizations=(), is_server=True)
        host = trust.issue("h2", trust.authority, organizations=("nephos-host",))
        assert await read(url, host) == CONTENT
    finally:
        trust.authority = authority
