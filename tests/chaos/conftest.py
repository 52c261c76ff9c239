"""A cloud to be hurt: two hosts, two replicas of the operator."""

from collections.abc import Iterator

import pytest

from cloud.sound import wait_sound
from nephos_dev.cloud import Cloud, Plan
from nephos_dev.layout import name_for_tests
from nephos_dev.tenant import Tenant


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud(name_for_tests("kills"))
    cloud.up(Plan(hosts=2, operators=2))
    yield cloud
    cloud.down()


@pytest.fixture
def tenant(cloud: Cloud) -> Iterator[Tenant]:
    tenant = Tenant(cloud.cluster, "storm")
    tenant.create(instances=40, cores=40, ramMiB=-1)
    yield tenant
    tenant.destroy()
    wait_sound(cloud)
