"""A cloud with two hosts for all tests of this folder, and a project for each."""

import hashlib
from collections.abc import Callable, Iterator

import pytest

from nephos_dev.cloud import Cloud, Plan
from nephos_dev.console import Console
from nephos_dev.layout import name_for_tests
from nephos_dev.observe import wait_sound
from nephos_dev.tenant import Tenant

Guest = Callable[[str], Console]


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Two hosts, two replicas of the operator."""
    cloud = Cloud(name_for_tests("main"))
    cloud.up(Plan(hosts=2, operators=2))
    yield cloud
    cloud.down()


@pytest.fixture
def tenant(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    """A project of the test's own; when it is gone, nothing of it may be left anywhere."""
    name = "t-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    tenant = Tenant(cloud.cluster, name)
    tenant.create()
    yield tenant
    tenant.destroy()
    wait_sound(cloud)


@pytest.fixture
def guest(cloud: Cloud, tenant: Tenant) -> Iterator[Guest]:
    """Open a shell on the serial console of a Server of the test's project."""
    consoles: dict[str, Console] = {}

    def open_console(server: str) -> Console:
        if server not in consoles:
            consoles[server] = cloud.console(tenant.name, server)
            consoles[server].log_in()
        return consoles[server]

    yield open_console
    for console in consoles.values():
        console.close()
