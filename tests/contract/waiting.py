"""Waiting for what a kernel or another process does, and tells nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 5) -> None:
    """Wait until the check holds."""
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110  # why: what is waited for is in a kernel or another process
            await asyncio.sleep(0.02)
