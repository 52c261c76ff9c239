"""When a gateway host says that the router's outside addresses are here, and when it keeps silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nephos_agent.claims import Claims
from nephos_agent.network.memory import MemoryNetwork
from nephos_api.errors import TemporaryFault

from .network.examples import network
from .network.test_routers import ROUTER


class Clock:
    """The time, and the age of the Lease."""

    now_s = 1000.0
    lease_age_s: float | None = 1.0


class Failing(MemoryNetwork):
    async def claim(self, router_uid: str) -> None:
        await super().claim(router_uid)
        raise TemporaryFault("the kernel does not answer")


async def carrying(driver: MemoryNetwork) -> MemoryNetwork:
    driver.applied = {uid: replace(network(), uid=uid) for uid in ROUTER.networks_on("h1")}
    await driver.apply_router(ROUTER)
    return driver


async def claimed(driver: MemoryNetwork, claims: Claims) -> bool:
    """Let the time come once; tell whether the router was claimed."""
    driver.claimed.clear()
    await claims.claim()
    return driver.claimed == {ROUTER.uid}


@pytest.mark.parametrize("age_s", [None, 10.1, 3600.0])
async def test_who_may_have_lost_the_gateway_is_silent_until_it_has_surely_heard_of_it(age_s: float | None) -> None:
    clock, driver = Clock(), await carrying(MemoryNetwork("h1"))
    claims = Claims(driver, lambda: clock.lease_age_s, clock=lambda: clock.now_s)
    assert await claimed(driver, claims)
    clock.lease_age_s = age_s
    assert not await claimed(driver, claims)
    clock.lease_age_s, clock.now_s = 1.0, clock.now_s + 59
    assert not await claimed(driver, claims)
    clock.now_s += 2
    assert await claimed(driver, claims)


async def test_a_kernel_that_refuses_is_asked_again() -> None:
    driver = await carrying(Failing("h1"))
    claims = Claims(driver, lambda: 1.0)
    assert await claimed(driver, claims)
    assert await claimed(driver, claims)
