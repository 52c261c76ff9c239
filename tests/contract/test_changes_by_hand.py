"""What somebody changes by hand on a host is as it was again: at once where the kernel tells, else after a sweep."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from contract.router_lab import Cloud, build_cloud, floating, gateway, outside, public_network, running_lab
from contract.waiting import eventually
from nephos_agent.network.model import HostRouter
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.router.names import inner_name, leg_name, router_names

pytestmark = pytest.mark.asyncio(loop_scope="module")
_LOOKS = """
bridge fdb show
ip -o addr show
ip neigh show nud permanent
ip -6 neigh show nud permanent
ip route show table all
ip -6 route show table all
ip rule show
nft -s list ruleset
cd /proc/sys/net
grep -s . bridge/* ipv4/icmp_errors* ipv[46]/conf/*/*forwarding ipv4/conf/*/*_filter ipv[46]/conf/*/proxy_*
grep -s . ipv4/conf/*/arp_* ipv[46]/conf/*/*_redirects ipv6/conf/*/accept_* ipv6/conf/*/disable_ipv6
"""
_NUMBER = re.compile(r"\b0x[0-9a-f]{8}\b|\b[0-9]+(?= \. [0-9a-f:.]+ :)|elements = {")
_MULTICAST = "33:33:"


@dataclass
class Kept:
    """A cloud whose first host has a guest of each network, a router, its way out and a floating IP.

    Whoever is told of a change there applies what is told, as the agent does, and nothing else.
    """

    cloud: Cloud
    router: HostRouter

    def run(self, place: str, command: str) -> str:
        """Run a command in a namespace of the first host's; return its output."""
        folder, network = self.cloud.lab.one.folder / "netns", network_names("network-1", "nephos")
        namespace = {
            "tenants": folder / "nephos",
            "router": folder / router_names("router-1", "nephos").namespace,
            "service": folder / network.namespace,
            "host": folder / "h1",
        }[place]
        names = {
            "bridge": network.bridge,
            "vxlan": network.vxlan,
            "uplink": network_names("public", "nephos").uplink_outer,
            "tap": tap_name("a"),
            "mac": self.cloud.blue.ports[1].mac,
            "leg": inner_name("network-1", is_outside=False),
            "ext": inner_name("public", is_outside=True),
            "door": leg_name("router-1", "network-1", is_outside=False),
        }
        for name, value in names.items():
            command = command.replace("{" + name + "}", value)
        words = ["nsenter", f"--net={namespace}", "sh", "-c", command]
        return subprocess.run(words, check=False, capture_output=True, text=True).stdout

    def snapshot(self, place: str) -> set[str]:
        """Return all that is looked at there, line by line, but which number the filters know each name by."""
        lines = _NUMBER.sub("#", self.run(place, _LOOKS)).splitlines()
        return {line.strip(" {},") for line in lines if not line.startswith(_MULTICAST)}

    async def is_again(self, place: str, before: set[str]) -> bool:
        """Tell whether the place is as it was, once everything that was told is applied."""
        host = self.cloud.lab.one
        while host.changed:
            host.changed.clear()
            for network in (self.cloud.blue, self.cloud.red, public_network()):
                await host.driver.apply(network)
            await host.driver.apply_router(self.router)
        return self.snapshot(place) == before


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    async with running_lab(tmp_path_factory.mktemp("kept")) as lab:
        outside(lab)
        cloud = await build_cloud(lab)
        router = cloud.router(gateway(lab.one))
        own = floating(21, "10.10.0.11")
        await cloud.carry(router, {"h1": (own,)})
        yield Kept(cloud, replace(router, floating_ips=(own,)))


@pytest.mark.parametrize(
    ("place", "by_hand"),
    [
        ("tenants", "bridge fdb del {mac} dev {vxlan} self"),
        ("tenants", "bridge fdb replace {mac} dev {vxlan} self dst 192.0.2.99 permanent"),
        ("tenants", "bridge fdb del 00:00:00:00:00:00 dev {vxlan} self dst 192.0.2.2"),
        ("tenants", "bridge fdb append 00:00:00:00:00:00 dev {vxlan} self dst 192.0.2.99 permanent"),
        ("tenants", "bridge fdb del {mac} dev {vxlan} master"),
        ("tenants", "bridge fdb replace {mac} dev {tap} master static"),
        ("tenants", "bridge fdb add 52:54:00:00:00:99 dev {tap} master static"),
        ("tenants", "ip neigh del 10.10.0.13 dev {bridge}"),
        ("tenants", "ip neigh replace 10.10.0.13 lladdr 52:54:00:00:00:99 dev {bridge} nud permanent"),
        ("tenants", "ip neigh add 10.10.0.99 lladdr 52:54:00:00:00:99 dev {bridge} nud permanent"),
        ("tenants", "ip -6 neigh flush dev {bridge} nud permanent"),
        ("tenants", "sysctl -w net.ipv4.ip_forward=1"),
        ("tenants", "sysctl -w net.ipv6.conf.all.forwarding=1"),
        ("tenants", "nft delete element bridge nephos role '{ {door} }'"),
        ("tenants", "nft flush chain inet nephos to_port"),
        ("tenants", "nft delete table inet nephos"),
        ("router", "ip neigh del 10.10.0.13 dev {leg}"),
        ("router", "ip neigh replace 10.10.0.13 lladdr 52:54:00:00:00:99 dev {leg} nud permanent"),
        ("router", "ip neigh flush all nud permanent"),
        ("router", "ip addr del 10.10.0.1/24 dev {leg}"),
        ("router", "ip addr add 10.10.0.99/24 dev {leg}"),
        ("router", "ip addr del 203.0.113.21/32 dev {ext}"),
        ("router", "ip route del default"),
        ("router", "ip route replace default via 203.0.113.99 dev {ext} onlink"),
        ("router", "ip route flush table 100"),
        ("router", "ip route del 10.10.0.0/24 dev {leg}"),
        ("router", "ip -6 route del 2001:db8:113::/64 dev {ext}"),
        ("router", "ip -6 route del default"),
        ("router", "ip rule del priority 120"),
        ("router", "ip rule add priority 7 from 10.10.0.0/24 lookup 99"),
        ("router", "sysctl -w net.ipv4.ip_forward=0"),
        ("router", "sysctl -w net.ipv6.conf.all.forwarding=0"),
        ("router", "sysctl -w net.ipv4.conf.{leg}.forwarding=0"),
        ("router", "sysctl -w net.ipv4.conf.{leg}.rp_filter=1"),
        ("router", "sysctl -w net.ipv4.conf.{leg}.proxy_arp=1"),
        ("router", "nft delete element ip nephos floating_in '{ 203.0.113.21 }'"),
        ("router", "nft flush chain ip nephos translate"),
        ("router", "nft delete table ip nephos"),
        ("service", "ip addr del 10.10.0.254/24 dev service"),
        ("service", "ip addr add 10.10.0.99/24 dev service"),
        ("service", "ip route del 10.10.0.0/24 dev service"),
        ("service", "ip addr del fe80::a9fe:a9fe/64 dev service"),
        ("service", "sysctl -w net.ipv4.ip_forward=1"),
        ("service", "sysctl -w net.ipv6.conf.service.forwarding=1"),
        ("service", "sysctl -w net.ipv4.conf.service.proxy_arp=1"),
    ],
)
async def test_what_somebody_changes_is_as_it_was_at_once(kept: Kept, place: str, by_hand: str) -> None:
    before = kept.snapshot(place)
    kept.run(place, by_hand)
    assert kept.snapshot(place) != before, "nothing was changed"
    await eventually(lambda: kept.is_again(place, before), 10)


@pytest.mark.parametrize(
    ("place", "by_hand"),
    [
        ("tenants", "sysctl -w net.bridge.bridge-nf-call-arptables=1"),
        ("tenants", "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
        ("tenants", "bridge fdb replace {mac} dev {vxlan} master dynamic"),
        ("router", "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
        ("router", "sysctl -w net.ipv6.conf.{leg}.accept_ra=2"),
        ("router", "sysctl -w net.ipv4.icmp_errors_use_inbound_ifaddr=0"),
        ("service", "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
        ("service", "sysctl -w net.ipv6.conf.service.accept_ra=2"),
        ("service", "sysctl -w net.ipv6.conf.service.disable_ipv6=1"),
        ("host", "sysctl -w net.ipv6.conf.{uplink}.disable_ipv6=0"),
    ],
)
async def test_what_the_kernel_does_not_tell_is_as_it_was_after_a_sweep(kept: Kept, place: str, by_hand: str) -> None:
    before = kept.snapshot(place)
    kept.run(place, by_hand)
    assert kept.snapshot(place) != before, "nothing was changed"
    await kept.cloud.lab.one.driver._sweep()
    await eventually(lambda: kept.is_again(place, before), 10)
