"""Who is answered by the metadata service, and how."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest

from nephos_agent.metadata import server as metadata_server
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.metadata.source import Guest
from unit.agent.metadata.test_documents import GUEST


class Guests(dict[str, Guest]):
    """Guests by port."""

    def guest(self, port_uid: str) -> Guest | None:
        return self.get(port_uid)


def listener() -> socket.socket:
    opened = socket.create_server(("127.0.0.1", 0))
    opened.setblocking(False)
    return opened


@pytest.fixture
async def server() -> AsyncIterator[MetadataServer]:
    made = MetadataServer(Guests({"port-net0": GUEST}))
    yield made
    await made.close()


async def get(opened: socket.socket, path: str, **options: object) -> tuple[int, str]:
    url = f"http://127.0.0.1:{opened.getsockname()[1]}{path}"
    async with aiohttp.ClientSession() as client, client.request("GET", url, **options) as answer:  # type: ignore[arg-type]  # why: options of any request
        return answer.status, await answer.text()


async def test_a_port_is_known_by_the_address_that_it_asks_from(server: MetadataServer) -> None:
    opened = listener()
    await server.serve("network-1", [opened])
    server.describe("network-1", {"127.0.0.1": "port-net0"})
    status, text = await get(opened, "/openstack/latest/meta_data.json")
    assert status == 200
    assert '"name": "web-1"' in text


async def test_what_a_request_says_of_its_origin_is_not_believed(server: MetadataServer) -> None:
    opened = listener()
    await server.serve("network-1", [opened])
    server.describe("network-1", {"10.10.0.11": "port-net0"})
    for header in ("X-Forwarded-For", "X-Instance-ID", "Forwarded", "X-Real-IP"):
        status, _ = await get(opened, "/openstack", headers={header: "10.10.0.11"})
        assert status == 404


async def test_the_same_address_on_another_network_is_another_port(server: MetadataServer) -> None:
    first, second = listener(), listener()
    await server.serve("network-1", [first])
    await server.serve("network-2", [second])
    server.describe("network-1", {"127.0.0.1": "port-net0"})
    server.describe("network-2", {})
    assert (await get(first, "/openstack"))[0] == 200
    assert (await get(second, "/openstack"))[0] == 404


async def test_a_guest_that_the_agent_does_not_know_yet_is_told_to_ask_again(server: MetadataServer) -> None:
    opened = listener()
    await server.serve("network-1", [opened])
    server.describe("network-1", {"127.0.0.1": "port-new"})
    assert (await get(opened, "/openstack"))[0] == 503


async def test_a_network_that_is_left_is_answered_no_more(server: MetadataServer) -> None:
    opened = listener()
    port = opened.getsockname()[1]
    await server.serve("network-1", [opened])
    assert server.is_serving("network-1")
    await server.leave("network-1")
    assert not server.is_serving("network-1")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


async def test_nothing_can_be_written(server: MetadataServer) -> None:
    opened = listener()
    await server.serve("network-1", [opened])
    url = f"http://127.0.0.1:{opened.getsockname()[1]}/openstack/latest/password"
    async with aiohttp.ClientSession() as client, client.post(url, data="secret") as answer:
        assert answer.status == 405


async def test_a_guest_that_opens_connections_and_is_silent_takes_nothing_from_others(
    server: MetadataServer,
) -> None:
    opened = listener()
    await server.serve("network-1", [opened])
    server.describe("network-1", {"127.0.0.1": "port-net0"})
    silent = [await asyncio.open_connection(*opened.getsockname()) for _ in range(100)]
    assert (await get(opened, "/openstack"))[0] == 200
    gone = [reader for reader, _ in silent if await _ends(reader)]
    assert len(gone) >= 80
    for _, writer in silent:
        writer.close()


async def _ends(reader: asyncio.StreamReader) -> bool:
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.05):
            return await reader.read() == b""
    return reader.exception() is not None


async def test_a_connection_without_a_request_is_closed(
    server: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_server, "_IDLE_S", 0.1)
    opened = listener()
    await server.serve("network-1", [opened])
    reader, writer = await asyncio.open_connection(*opened.getsockname())
    writer.write(b"GET /openstack HTTP/1.1\r\nHost: ")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
