"""A cloud whose first host is kept as it should be, as the agent does it, and all that there is to see of it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace

from contract.network_lab import Lab
from contract.router_lab import Cloud, Outside, build_cloud, floating, gateway, outside, public_network
from nephos_agent.network.model import HostRouter
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.router.names import inner_name, leg_name, router_names

_LOOKS = """
ip -o link show | grep -o ": .* mtu [0-9]*"
ip -d -o link show type bridge | grep -o "nbr[^:]*:\\|nf_call_[a-z0-9]* ."
bridge -d -o link show
bridge fdb show
ip -o addr show
ip neigh show nud permanent
ip -6 neigh show nud permanent
ip route show table all
ip -6 route show table all
ip rule show
nft -s list ruleset | sed "/set \\(flows\\|storm\\|tenants\\) {/,/}/d"
cd /proc/sys/net
grep -s . bridge/* ipv4/icmp_errors* ipv[46]/conf/*/*forwarding ipv4/conf/*/*_filter ipv[46]/conf/*/proxy_*
grep -s . ipv4/conf/*/arp_* ipv[46]/conf/*/*_redirects ipv6/conf/*/accept_* ipv6/conf/*/disable_ipv6
"""
_NAMES = re.compile(
    r"@[a-z0-9]+|\b0x[0-9a-f]{8}\b|(?<![0-9a-f:])[0-9a-f]{1,4}:0(?![0-9a-f:])"
    r"|\b[0-9]+(?= \. [0-9a-f:.]+ :)|^[0-9]+: |elements = {",
    re.MULTILINE,
)
"""By which numbers the filters and the kernel know things."""
_OWN = re.compile(r"33:33:|[0-9a-f:]+ dev \S+ master \S+ permanent")
"""MACs that ports of bridges have themselves."""


@dataclass
class Kept:
    """A cloud whose first host has a guest of each network, a router, its way out and a floating IP.

    Whoever is told of a change there applies what is told, as the agent does, and nothing else.
    """

    cloud: Cloud
    router: HostRouter
    internet: Outside

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
        """Return all that is looked at there, line by line, but for sets that packets fill and time empties."""
        lines = _NAMES.sub("", self.run(place, _LOOKS)).splitlines()
        return {line.strip(" \t{},") for line in lines if not _OWN.match(line)}

    def spoil(self, place: str, by_hand: str) -> set[str]:
        """Change something by hand; return what was there before."""
        before = self.snapshot(place)
        self.run(place, by_hand)
        assert self.snapshot(place) != before, "nothing was changed"
        return before

    async def is_again(self, place: str, before: set[str]) -> bool:
        """Tell whether the place is as it was, once everything that was told is applied."""
        changed = self.cloud.lab.one.changed
        while changed:
            changed.clear()
            await self.apply()
        return self.snapshot(place) == before

    async def apply(self) -> None:
        """Apply everything on the first host."""
        driver = self.cloud.lab.one.driver
        for network in (self.cloud.blue, self.cloud.red, public_network()):
            await driver.apply(network)
        await driver.apply_router(self.router)


async def build_kept(lab: Lab) -> Kept:
    """Make the cloud, with the internet outside."""
    internet = outside(lab)
    cloud = await build_cloud(lab)
    router = cloud.router(gateway(lab.one))
    own = floating(21, "10.10.0.11")
    await cloud.carry(router, {"h1": (own,)})
    return Kept(cloud, replace(router, floating_ips=(own,)), internet)
