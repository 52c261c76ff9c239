"""Tells people and tools on this host what its network has, by a socket that only root can open.

``curl --unix-socket /run/nephos/report.sock http://agent/network`` is what the packet-path explainer reads.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from aiohttp import web

from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.path.report import Report, dump
from nephos_api.errors import TemporaryFault

SOCKET: Final = "report.sock"
"""Below the run directory."""


async def serve(network: NetworkDriver, host_name: str, run_dir: Path) -> web.AppRunner:
    """Serve /network; the caller cleans the runner up."""

    async def report(_request: web.Request) -> web.Response:
        try:
            observed = await network.observed()
        except TemporaryFault as fault:
            raise web.HTTPServiceUnavailable(text=f"{fault.message}\n") from fault
        return web.Response(text=dump(Report(host_name, observed)), content_type="application/json")

    application = web.Application()
    application.add_routes([web.get("/network", report)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    path = run_dir / SOCKET
    await asyncio.to_thread(_make_room, path)
    await web.UnixSite(runner, str(path)).start()
    await asyncio.to_thread(path.chmod, 0o600)
    return runner


def _make_room(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
