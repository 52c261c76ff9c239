"""Waiting for what a kernel or another process does, and tells nobody."""

from __future__ import annotations

import asyncio
import re
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


def answered(output: str) -> set[int]:
    """Return which pings were answered, by what `ping` printed."""
    return {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", output)}


def assert_all_answered(output: str, count: int) -> None:
    """Fail if a ping was lost; at its end `ping` waits for two round trips only, and a busy machine takes longer."""
    assert answered(output) >= set(range(1, count - 10)), output
