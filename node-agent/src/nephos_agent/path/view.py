"""The objects as hosts see them: the agent's own conversions, for the whole cloud instead of one host."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from ipaddress import ip_address, ip_network

from nephos_agent.host_network import host_network, host_port, remote_groups, routed_members
from nephos_agent.host_router import host_router
from nephos_agent.host_security_group import host_security_group
from nephos_agent.network.filters.judgement import Packet, Rules
from nephos_agent.network.model import AddressPair, HostNetwork, HostPort, HostRouter, HostSecurityGroup
from nephos_agent.path.model import Objects
from nephos_api.resources import FloatingIP, Network, Port, Router
from nephos_api.resources.network import SubnetView
from nephos_api.resources.security_group import Direction


def is_address(text: str) -> bool:
    """Tell whether the text is an address, and not the name of an object."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class View:
    """Looks things up; everything is by UID unless it says otherwise."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._networks = {network.uid: network for network in objects.networks}
        self._groups = {group.uid: group for group in objects.security_groups}
        self.ports = {port.uid: port for port in objects.ports}
        self.routers = {router.uid: router for router in objects.routers}
        self._described: dict[str, HostNetwork | None] = {}
        self._rules: dict[str, Rules] = {}

    def ports_named(self, name: str) -> tuple[Port, ...]:
        """Return the Port of that ``namespace/name``, else those of the Server of that name, in the order of names."""
        found = [port for port in self._objects.ports if f"{port.metadata.namespace}/{port.metadata.name}" == name]
        if not found:
            found = [it for it in self._objects.ports if f"{it.metadata.namespace}/{it.spec.server}" == name]
        return tuple(sorted(found, key=lambda port: port.metadata.name))

    def port_with(self, network_uid: str, address: str, near: str = "") -> Port | None:
        """Return the Port of the network that holds the address; where none does, one whose guest may use it.

        Of several that may it is one on the host ``near``, if there is one.
        """
        of_network = (port for port in self._objects.ports if port.spec.network_uid == network_uid)
        holder = next((port for port in of_network if address in addresses(port)), None)
        return holder or self._port_that_may_use(network_uid, address, near)

    def _port_that_may_use(self, network_uid: str, address: str, near: str) -> Port | None:
        known = self._networks.get(network_uid)
        subnets = known.status.subnets if known else []
        taken = {each for subnet in subnets for each in (subnet.gateway, subnet.service_address)}
        if address in taken or not any(contains(subnet.cidr, address) for subnet in subnets):
            return None
        network = self.host_network(network_uid)
        if network is None:
            return None
        enabled = [port for port in network.ports if port.is_enabled]
        found = [port for port in enabled if _pair_of(port, address)]
        if network.provider is None:  # there, whoever is outside is likelier to have it
            found += [port for port in enabled if not port.port_security]
        first = min(found, key=lambda port: port.host != near, default=None)
        return self.ports[first.uid] if first else None

    def network(self, uid: str) -> Network | None:
        """Return the Network."""
        return self._networks.get(uid)

    def ports_with(self, address: str) -> tuple[Port, ...]:
        """Return the Ports that have the address, at most one of each network."""
        found = (self.port_with(uid, address) for uid in self._networks)
        return tuple(port for port in found if port)

    @cached_property
    def _host_groups(self) -> dict[str, HostSecurityGroup]:
        return {uid: host_security_group(group) for uid, group in self._groups.items()}

    @cached_property
    def _host_ports(self) -> dict[str, list[HostPort]]:
        """By the UID of their network; Ports that no host carries are nowhere."""
        found: dict[str, list[HostPort]] = {}
        for port in self._objects.ports:
            network = self._networks.get(port.spec.network_uid or "")
            if network and (made := host_port(port, port_security=network.spec.port_security)):
                found.setdefault(network.uid, []).append(made)
        return found

    def host_ports(self, network_uid: str) -> tuple[HostPort, ...]:
        """Return the network's Ports that a host carries."""
        return tuple(self._host_ports.get(network_uid, ()))

    def host_port(self, port: Port) -> HostPort | None:
        """Return the Port as hosts see it; None while no host carries it."""
        found = self._host_ports.get(port.spec.network_uid or "", ())
        return next((each for each in found if each.uid == port.uid), None)

    def host_network(self, uid: str) -> HostNetwork | None:
        """Return the network as the hosts that carry it see it; None while it is not Active."""
        if uid not in self._described:
            network = self._networks.get(uid)
            self._described[uid] = self._describe(network) if network else None
        return self._described[uid]

    def _describe(self, network: Network) -> HostNetwork | None:
        uid = network.uid
        joined = {leg.network_uid for router in self._routers_of(uid) for leg in router.status.legs} - {uid}
        return self.describe(network, tuple(self._host_groups.values()), joined)

    def describe(
        self,
        network: Network,
        groups: Collection[HostSecurityGroup],
        joined: Iterable[str],
        *,
        serves_guests: bool = True,
    ) -> HostNetwork | None:
        """Return the network as a host sees it that knows these groups; ``joined`` are networks behind its routers."""
        beyond = (port for uid in joined for port in self.host_ports(uid))
        members = routed_members(beyond, remote_groups(groups))
        return host_network(network, self.host_ports(network.uid), groups, members, serves_guests=serves_guests)

    def host_router(self, router: Router, host: str) -> HostRouter:
        """Return the router as that host carries it."""
        uids = {leg.network_uid for leg in router.status.legs}
        if router.status.external:
            uids.add(router.status.external.network_uid)
        networks = {uid: self._networks[uid] for uid in uids if uid in self._networks}
        here = [each for each in self._floating_ips(router) if each.status.host == host]
        ports = {uid: self._host_ports.get(uid, []) for uid in networks}
        return host_router(router, networks, ports, here, host)

    def allowing(self, network_uid: str, port: HostPort, direction: Direction, packet: Packet) -> str | None:
        """Return in words which rule of the port's groups allows the packet; None where none does."""
        if network_uid not in self._rules:
            network = self.host_network(network_uid)
            if network is None:
                return None
            self._rules[network_uid] = Rules(network)
        rule = self._rules[network_uid].allowing(port, direction, packet)
        if rule is None:
            return None
        group = next((uid for uid in port.security_groups if rule in self._host_groups[uid].rules), "")
        return f"a rule of SecurityGroup {self.group_name(group)} allows it"

    def groups(self, uids: Iterable[str]) -> tuple[HostSecurityGroup, ...]:
        """Return the groups that there are among those."""
        return tuple(self._host_groups[uid] for uid in sorted(uids) if uid in self._host_groups)

    def group_names(self, uids: Iterable[str]) -> str:
        """Return the names of groups, for people."""
        return ", ".join(map(self.group_name, uids)) or "no SecurityGroup"

    def group_name(self, uid: str) -> str:
        """Return the group's name."""
        return str(self._groups[uid].metadata.name) if uid in self._groups else uid

    def router_at(self, network_uid: str, address: str) -> Router | None:
        """Return the Router that has the address on that network."""
        return next(
            (
                router
                for router in self._routers_of(network_uid)
                for leg in router.status.legs
                if leg.network_uid == network_uid and leg.address == address
            ),
            None,
        )

    def _routers_of(self, network_uid: str) -> tuple[Router, ...]:
        return tuple(
            router
            for router in self._objects.routers
            if any(leg.network_uid == network_uid for leg in router.status.legs)
        )

    def _floating_ips(self, router: Router) -> tuple[FloatingIP, ...]:
        return tuple(each for each in self._objects.floating_ips if each.status.router_uid == router.uid)

    def floating_ip_of(self, port: Port, address: str) -> FloatingIP | None:
        """Return the FloatingIP that stands for the Port's address."""
        found = (each for each in self._objects.floating_ips if each.status.port_uid == port.uid)
        return next((each for each in found if each.status.fixed_address == address), None)

    def floating_ip_at(self, address: str) -> FloatingIP | None:
        """Return the FloatingIP of that address."""
        return next((each for each in self._objects.floating_ips if each.status.address == address), None)

    def subnet_of(self, port: Port, address: str) -> SubnetView | None:
        """Return the Subnet of the Port's network that the address lies in."""
        network = self._networks.get(port.spec.network_uid or "")
        held = {each.subnet_uid for each in port.spec.allocations}
        for subnet in network.status.subnets if network else ():
            if subnet.uid in held and contains(subnet.cidr, address):
                return subnet
        return None


def addresses(port: Port) -> tuple[str, ...]:
    """Return the addresses that the Port holds."""
    return tuple(held.address for held in port.spec.allocations)


def mac_for(port: HostPort, address: str) -> str:
    """Return the MAC that frames for an address of the port, or one that it may use, have."""
    pair = None if has(port, address) else _pair_of(port, address)
    return pair.mac if pair else port.mac


def has(port: HostPort, address: str) -> bool:
    """Tell whether the address is the port's own, not one that it may use beside."""
    return any(held.address == address for held in port.addresses)


def _pair_of(port: HostPort, address: str) -> AddressPair | None:
    return next((pair for pair in port.address_pairs if contains(pair.address, address)), None)


def prefix_length(cidr: str) -> int:
    """Return how many bits of an address the network is about."""
    return ip_network(cidr, strict=False).prefixlen


def contains(cidr: str, address: str) -> bool:
    """Tell whether the address lies in the network; never across IP versions."""
    return ip_address(address) in ip_network(cidr, strict=False)
