"""What several contracts run on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.group_lab import Guests, boot_guests
from contract.network_lab import Lab, Pair, boot_pair, running_lab
from contract.router_lab import Cloud, Outside, build_cloud, outside
from contract.router_lab import running_lab as running_router_lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path) as running:
        yield running


@pytest.fixture
async def pair(lab: Lab) -> Pair:
    return await boot_pair(lab)


@pytest.fixture
async def guests(lab: Lab) -> Guests:
    return await boot_guests(lab)


@pytest.fixture
async def router_lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_router_lab(tmp_path) as lab:
        yield lab


@pytest.fixture
async def cloud(router_lab: Lab) -> Cloud:
    return await build_cloud(router_lab)


@pytest.fixture
def internet(router_lab: Lab) -> Outside:
    return outside(router_lab)
