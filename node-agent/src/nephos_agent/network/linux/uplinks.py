"""Ways to the provider's networks, by bridges in the host's namespace that are there already."""

from __future__ import annotations

import errno
from typing import Final

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_PROMISC

from nephos_agent.network.facts import Uplink
from nephos_agent.network.filters import uplink_tables
from nephos_agent.network.linux import sysctls
from nephos_agent.network.linux.libnftables import Nftables
from nephos_agent.network.linux.link_reader import UPLINK_PORT, Link
from nephos_agent.network.linux.links import Links
from nephos_agent.network.names import Mark, network_names, read_mark
from nephos_agent.network.settings import LinuxSettings
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.identity import mac_address

_HIGH: Final = "fe"
"""First octet of the outer end's MAC: a bridge without a MAC of its own takes the lowest of its ports."""
_NO_SUCH_KIND: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP})


class Uplinks:
    """Uplinks in the host's and in the tenant namespace. Calls block; they belong to the thread that makes them."""

    def __init__(self, settings: LinuxSettings, host: Links, tenants: Links, namespace: int) -> None:
        self._settings = settings
        self._host = host
        self._tenants = tenants
        self._namespace = namespace
        self._nft = Nftables()

    def close(self) -> None:
        """Close what was opened; uplinks stay."""
        self._nft.close()

    def make(self, fact: Uplink) -> None:
        """Make the uplink so: a cable to the provider's bridge, or where frames have a tag, a device that strips it.

        Raises ``PermanentFault`` where this host does not reach the network, or its kernel knows no tags.
        """
        provider = self._provider_bridge(fact)
        if fact.vlan_id is None:
            self._make_cable(fact, provider)
        elif self._tenants.get(fact.device) is None:
            self._make_tagged(fact, fact.vlan_id, provider)
        link = self._tenants.claim(fact.device, self._mark(fact.network_uid))
        bridge = self._tenants.get(fact.bridge)
        if bridge is None:
            raise TemporaryFault(f"network device {fact.bridge} vanished", reason="DeviceVanished")
        self._tenants.join(link, bridge.index, UPLINK_PORT, fact.mtu)

    def remove(self, fact: Uplink) -> None:
        """Remove the uplink, both ends of it; the provider's bridge is as it was once the last one is gone."""
        outer = self._host.get(self._outer(fact.network_uid))
        if outer:
            self._leave_bridge(outer)
        self._nft.run(uplink_tables.removal(self._outer(fact.network_uid)))
        self._tenants.delete(fact.device)

    def observe(self, link: Link, network_uid: str, bridge: str) -> Uplink:
        """Return the uplink as it is found; ``bridge`` is what it is a port of."""
        is_cable = link.kind == "veth"
        outer = self._host.get(self._outer(network_uid))
        index = outer.master if is_cable and outer else link.lower
        found = (name for name, device in self._settings.provider_bridges.items() if self._is(device, index))
        intact = link.is_up and link.port_flags == UPLINK_PORT and (not is_cable or self._is_passing(outer))
        return Uplink(link.name, network_uid, bridge, next(found, ""), link.vlan_id, link.mtu, intact)

    def _is_passing(self, outer: Link | None) -> bool:
        """Tell whether the outer end is up and silent itself, and frames go between it and the provider's bridge."""
        if outer is None or not outer.is_up:
            return False
        wanted = sysctls.on(outer.name, sysctls.HOST_DEVICE)
        if sysctls.differing(wanted, sysctls.found(wanted)):
            return False
        provider = next((link for link in self._host.all() if link.index == outer.master), None)
        if provider is None or not provider.is_promiscuous:
            return False
        ports = self._other_ports(provider)
        return all(
            self._chains(family, outer.name) == uplink_tables.chains(family, ports) for family in uplink_tables.FAMILIES
        )

    def _chains(self, family: str, table: str) -> frozenset[str]:
        listed = (each.get("chain", {}) for each in self._nft.run(f"list chains {family}")["nftables"])
        return frozenset(chain["name"] for chain in listed if chain.get("table") == table)

    def _other_ports(self, provider: Link) -> dict[int, str]:
        """Return the names of the provider's bridge's ports, by index, at which frames for tenants can be met.

        Not its uplinks; nor where it is for the bridge to say first what it takes in.
        """
        if provider.judges_ports:
            return {}
        ports = (link for link in self._host.all() if link.master == provider.index and not read_mark(link.alias))
        return {link.index: link.name for link in ports if not (link.port_flags and link.port_flags.locked)}

    def _make_cable(self, fact: Uplink, provider: Link) -> None:
        name = self._outer(fact.network_uid)
        if not (self._host.get(name) and self._tenants.get(fact.device)):
            self._tenants.delete(fact.device)
            self._host.delete(name)
            peer = {"ifname": fact.device, "mtu": fact.mtu, "net_ns_fd": self._namespace}
            own = _HIGH + mac_address(fact.network_uid, f"uplink/{self._settings.host}")[2:]
            self._host.add(name, "veth", self._mark(fact.network_uid), fact.mtu, address=own, peer=peer)
        outer = self._host.claim(name, self._mark(fact.network_uid))
        if outer.master != provider.index:
            self._leave_bridge(outer)
        sysctls.make_so(sysctls.on(name, sysctls.HOST_DEVICE))
        self._host.set(outer.index, mtu=fact.mtu, master=provider.index, state="up")
        self._host.set(provider.index, flags=IFF_PROMISC, change=IFF_PROMISC)
        self._nft.run(uplink_tables.tables(name, provider.name, provider.mac, self._other_ports(provider)))

    def _leave_bridge(self, outer: Link) -> None:
        """Let the bridge of an uplink that goes take in only what is for it, unless another uplink is a port of it."""
        if outer.master is None:
            return
        ports = (link for link in self._host.all() if link.master == outer.master and link.index != outer.index)
        if not any(read_mark(link.alias) for link in ports):
            self._host.set(outer.master, flags=0, change=IFF_PROMISC)

    def _make_tagged(self, fact: Uplink, vlan_id: int, provider: Link) -> None:
        try:
            self._host.add_elsewhere(
                self._namespace, fact.device, "vlan", fact.mtu, link=provider.index, vlan_id=vlan_id
            )
        except NetlinkError as error:
            if error.code not in _NO_SUCH_KIND:
                raise
            raise PermanentFault(
                f"host {self._settings.host} cannot carry VLAN {vlan_id} of physical network {fact.physical_network}:"
                " its kernel has no 802.1Q devices (module 8021q)",
                reason="VLANNotSupported",
            ) from error

    def _provider_bridge(self, fact: Uplink) -> Link:
        device = self._settings.provider_bridges.get(fact.physical_network)
        if device is None:
            raise PermanentFault(
                f"host {self._settings.host} does not reach physical network {fact.physical_network}:"
                " no bridge is configured for it",
                reason="PhysicalNetworkUnknown",
            )
        link = self._host.get(device)
        if link is None or link.kind != "bridge":
            raise TemporaryFault(
                f"host {self._settings.host} has no bridge {device}, which leads to physical network"
                f" {fact.physical_network}",
                reason="ProviderBridgeMissing",
            )
        return link

    def _outer(self, network_uid: str) -> str:
        return network_names(network_uid, self._settings.namespace_prefix).uplink_outer

    def _is(self, device: str, index: int | None) -> bool:
        link = self._host.get(device)
        return link is not None and link.index == index

    def _mark(self, network_uid: str) -> str:
        return str(Mark(self._settings.cloud_id, "network", network_uid))
