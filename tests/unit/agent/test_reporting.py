"""What a host tells of its network."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import aiohttp

from nephos_agent import reporting
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.network.observed import Observed
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.path.report import Report, load
from nephos_api.errors import TemporaryFault

from .network.examples import network as example


class Failing(MemoryNetwork):
    async def observed(self) -> Observed:
        raise TemporaryFault("the kernel does not answer")


async def ask(network: NetworkDriver, run_dir: Path) -> tuple[int, str]:
    runner = await reporting.serve(network, "h1", run_dir)
    path = run_dir / reporting.SOCKET
    assert stat.S_IMODE((await asyncio.to_thread(path.stat)).st_mode) == 0o600
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://agent/network") as response,
        ):
            return response.status, await response.text()
    finally:
        await runner.cleanup()


async def test_a_host_reports_what_it_has_by_a_socket_of_roots_own(tmp_path: Path) -> None:
    network = MemoryNetwork("h1")
    await network.apply(example())
    for _ in range(2):  # the socket of an agent that was killed is in nobody's way
        status, text = await ask(network, tmp_path / "run")
        assert status == 200
        assert load(text) == Report("h1", await network.observed())
        assert load(text).observed.networks


async def test_a_host_that_can_not_look_says_so(tmp_path: Path) -> None:
    assert await ask(Failing("h1"), tmp_path) == (503, "the kernel does not answer\n")
