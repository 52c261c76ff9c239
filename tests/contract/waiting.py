"""Waiting for what a kernel or another process does, and tells nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 15) -> None:
    """Wait until the check holds."""
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110  # why: what is waited for is in a kernel or another process
            await asyncio.sleep(0.02)


def listens(path: Path) -> bool:
    """Tell whether somebody listens at the socket: it has its name a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
