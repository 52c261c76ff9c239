"""Guests on one network whose security groups a test changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from contract.network_lab import Guest, Host, Lab, network, port
from nephos_agent.network.model import HostNetwork, HostPort, HostSecurityGroup, PortAddress, SecurityRule
from nephos_api.resources.security_group import Direction, IPFamily

IN, OUT = Direction.INGRESS, Direction.EGRESS
V4, V6 = IPFamily.IPV4, IPFamily.IPV6
TCP, UDP, ICMP, ICMPV6, GRE, ESP, SCTP = 6, 17, 1, 58, 47, 50, 132
EVERYTHING_OUT = (SecurityRule(OUT, V4), SecurityRule(OUT, V6))


def group(uid: str, *rules: SecurityRule) -> HostSecurityGroup:
    """Return a group of these rules."""
    return HostSecurityGroup(uid, frozenset(rules))


def with_groups(described: HostNetwork, *groups: HostSecurityGroup) -> HostNetwork:
    """Return the network with these groups, beside the one that allows everything."""
    return replace(described, security_groups=(*network(1).security_groups, *groups))


@dataclass
class Guests:
    """Guests on one network: ``a`` and ``c`` on host one, ``b`` on host two; ``b`` has the group ``web``."""

    lab: Lab
    network: HostNetwork
    a: Guest
    b: Guest
    c: Guest

    async def apply(self, described: HostNetwork) -> None:
        self.network = described
        for host in (self.lab.one, self.lab.two):
            await host.driver.apply(described)

    async def set_rules(self, *rules: SecurityRule) -> None:
        await self.apply(with_groups(self.network, group("web", *rules)))

    async def set_port(self, changed: HostPort) -> None:
        ports = tuple(changed if port.uid == changed.uid else port for port in self.network.ports)
        await self.apply(replace(self.network, ports=ports))

    def port(self, uid: str) -> HostPort:
        return next(port for port in self.network.ports if port.uid == uid)


async def boot_guests(lab: Lab) -> Guests:
    """Start the three guests, on both hosts."""
    described = with_groups(
        network(
            1,
            dual_stack("a", 11, lab.one, "allow-all"),
            dual_stack("b", 12, lab.two, "web"),
            dual_stack("c", 13, lab.one, "web"),
        ),
        group("web", *EVERYTHING_OUT),
    )
    a = await boot(lab.one, described, "a")
    b = await boot(lab.two, described, "b")
    c = await boot(lab.one, described, "c")
    return Guests(lab, described, a, b, c)


async def boot(host: Host, described: HostNetwork, uid: str) -> Guest:
    """Start a guest that has its addresses already."""
    its = next(port for port in described.ports if port.uid == uid)
    guest = await host.boot(described, its)
    for held in its.addresses:
        await guest.run("ip", "addr", "add", f"{held.address}/{held.prefix_length}", "dev", "eth0", *_nodad(held))
    return guest


def _nodad(held: PortAddress) -> tuple[str, ...]:
    return ("nodad",) if ":" in held.address else ()


def dual_stack(uid: str, number: int, host: Host, *groups: str) -> HostPort:
    """Return a port with an address of each version."""
    made = port(uid, f"10.10.0.{number}", host, groups=groups)
    return replace(made, addresses=(*made.addresses, PortAddress(f"fd00:10::{number}", "subnet-6", 64)))
