"""A cloud with two hosts for all tests of this folder, and a project for each, or for all of one module."""

import hashlib
from collections.abc import Callable, Iterator

import pytest

from cloud.sound import wait_sound
from nephos_dev.asking import Guests
from nephos_dev.cloud import Cloud, Plan
from nephos_dev.console import Console
from nephos_dev.layout import name_for_tests
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
    yield from _project(cloud, "t-", request.node.name)


@pytest.fixture(scope="module")
def project(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    """A project for all tests of a module, which share its Servers."""
    yield from _project(cloud, "m-", request.node.name)


def _project(cloud: Cloud, prefix: str, seed: str) -> Iterator[Tenant]:
    tenant = Tenant(cloud.cluster, prefix + hashlib.sha256(seed.encode()).hexdigest()[:8])
    tenant.create()
    yield tenant
    tenant.destroy()
    wait_sound(cloud)


@pytest.fixture(scope="module")
def guests(cloud: Cloud, project: Tenant) -> Iterator[Guests]:
    """Shells in the guests of the module's project."""
    with Guests(cloud, project.name) as guests:
        yield guests


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
