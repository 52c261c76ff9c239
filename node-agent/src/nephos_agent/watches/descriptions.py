"""Networks and routers as this host needs them, from what the watches show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nephos_agent.host_network import host_network, host_port, routed_members
from nephos_agent.host_router import host_router
from nephos_agent.network.model import GroupMember, HostNetwork, HostPort, HostRouter
from nephos_agent.watches.fabric import Fabric
from nephos_agent.watches.network import NetworkWatch
from nephos_api.resources import Network


class Descriptions:
    """Says nothing of what is not known in full: None."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    def network(self, uid: str) -> HostNetwork | None:
        """Return the network with all of its Ports, and the groups of those that are here."""
        watch = self._fabric.networks.get(uid)
        network = watch.network if watch and watch.is_synced else None
        if watch is None or network is None:
            return None
        ports = self._ports(uid, watch)
        here = [port for port in ports if port.host == self._fabric.host_name]
        used = {group for port in here for group in port.security_groups}
        groups = [self._fabric.groups.watches.get(group) for group in used]
        members = self._members(uid)
        if members is None or not all(group and group.is_synced for group in groups):
            return None
        found = [group.group for group in groups if group and group.group]
        described = host_network(network, ports, found, members, serves_guests=bool(here))
        if described and len(found) < len(groups):
            # Ports name a group that is not there: until the operator has looked, what it allowed stays.
            return replace(described, keep_unknown=True)
        return described

    def router(self, uid: str) -> HostRouter | None:
        """Return the router with all Ports behind its legs, and the floating IPs of this host."""
        fabric = self._fabric
        watch = fabric.routers.get(uid)
        router = watch.router if watch and watch.is_synced else None
        if router is None:
            return None
        networks: dict[str, Network] = {}
        ports: dict[str, Iterable[HostPort]] = {}
        for reference in fabric.interfaces_of(uid).networks:
            on = fabric.networks.get(reference.uid)
            network = on.network if on and on.is_synced else None
            if on is None or network is None or network.status.mtu is None:
                return None
            networks[network.uid], ports[network.uid] = network, self._ports(network.uid, on)
        return host_router(router, networks, ports, fabric.floating_ips.of(uid), fabric.host_name)

    def _ports(self, uid: str, watch: NetworkWatch) -> tuple[HostPort, ...]:
        """Return the network's Ports; one that is here counts even before, or after, the network's own list has it."""
        listed, host = watch.host_ports, self._fabric.host_name
        unlisted = (
            host_port(port, port_security=watch.port_security)
            for port_uid, port in self._fabric.ports.of_network(uid).items()
            if port_uid not in listed or listed[port_uid].host != host
        )
        here = {port.uid: port for port in unlisted if port}
        return (*here.values(), *(port for port_uid, port in listed.items() if port_uid not in here))

    def _members(self, uid: str) -> frozenset[GroupMember] | None:
        """Return the members of groups on other networks that rules here name; None while not all are known."""
        fabric = self._fabric
        named = fabric.remote_groups(uid)
        if not named:
            return frozenset()
        if not all(watch.is_synced for watch in fabric.needed_for(uid)):
            return None
        joined = (fabric.networks.get(other) for other in fabric.reach.joined_with(uid))
        return routed_members((port for watch in joined if watch for port in watch.host_ports.values()), named)
