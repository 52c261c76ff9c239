"""Growth: what a thousand costs is a thousand times what one costs.

`NEPHOS_SCALE_SERVERS` and `NEPHOS_SCALE_HOSTS` say how many (200 on 20 unless told; the full run is 2000 on 100).
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from nephos_dev.cloud import Cloud, Plan
from nephos_dev.layout import name_for_tests
from nephos_dev.scale import create_servers, prepare, simulated_hosts
from nephos_dev.tenant import Tenant

SERVERS = int(os.environ.get("NEPHOS_SCALE_SERVERS", "200"))
HOSTS = int(os.environ.get("NEPHOS_SCALE_HOSTS", "20"))
NETWORKS = 20


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud(name_for_tests("scale"))
    cloud.up(Plan(hosts=0, image_service=False, agents=False, catalog=False))
    yield cloud
    cloud.down()


@pytest.mark.timeout(1800)
def test_many_servers_become_active_at_a_steady_pace_and_share_nothing(cloud: Cloud) -> None:
    tenant = Tenant(cloud.cluster, "many")
    prepare(cloud, tenant, NETWORKS)
    with simulated_hosts(cloud, HOSTS):
        arrivals = create_servers(cloud, tenant, 0, SERVERS, NETWORKS)
        print(f"{arrivals.per_second:.1f} Servers a second, second half {arrivals.slowdown:.2f} x the first")
        assert arrivals.slowdown < 3, "the second half took much longer: growth is not linear"
        ports = tenant.all_of("ports")
        claims = Counter(
            (allocation["subnetUID"], allocation["address"])
            for port in ports
            for allocation in port["spec"]["allocations"]
        )
        assert len(ports) == SERVERS
        assert max(claims.values()) == 1, "an address was given twice"
        placed = Counter(server["status"]["host"] for server in tenant.all_of("servers"))
        assert max(placed.values()) - min(placed.values()) <= SERVERS // HOSTS, "placement is lopsided"
