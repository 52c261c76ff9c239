"""Makes facts so on this host, and takes them away. Everything here runs in one thread and blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nephos_agent.network.facts import (
    Bridge,
    BridgeEntry,
    Fact,
    GuardElement,
    HostsFile,
    Neighbour,
    Service,
    Tap,
    TunnelEntry,
    Uplink,
    Vxlan,
)
from nephos_agent.network.linux import hosts_files, namespaces, sysctls
from nephos_agent.network.linux.conntrack import FlowTable
from nephos_agent.network.linux.devices import Devices
from nephos_agent.network.linux.generation import Generation
from nephos_agent.network.linux.libnftables import Nftables
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.neighbours import NeighbourSocket
from nephos_agent.network.linux.shaping import Shaping
from nephos_agent.network.linux.tables import Tables
from nephos_agent.network.linux.uplinks import Uplinks
from nephos_agent.network.plan import Changes
from nephos_agent.network.rate_facts import Diversion, Funnel, PacketLimit, Shaper
from nephos_agent.network.settings import LinuxSettings
from nephos_api.errors import PermanentFault

_BRIDGE_SYSCTLS: Final = "/proc/sys/net/bridge"
Change = Callable[[Any], None]


class Kernel:
    """The host's and the tenant namespace's devices, tables and filters. Made, used and closed by one thread."""

    def __init__(self, settings: LinuxSettings) -> None:
        """Make the tenant namespace where it is missing.

        Raises ``PermanentFault`` where a namespace of that name is somebody else's.
        """
        self.settings = settings
        if settings.host_namespace is not None:
            namespaces.enter(settings.host_namespace)
        self.host = Links()
        path = settings.netns_dir / settings.namespace_prefix
        namespaces.create(path)
        self.namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with namespaces.entered(self.namespace):
            self.tenants = Links()
            self.neighbours = NeighbourSocket()
            self.shaping = Shaping()
            self._nft = Nftables()
            self._generation = Generation()
            self._flows = FlowTable()
        self.devices = Devices(settings, self.host, self.tenants, self.namespace)
        self.uplinks = Uplinks(settings, self.host, self.tenants, self.namespace)
        self.tables = Tables(self.neighbours, self._nft, self._generation, self._flows, self.devices.index)
        self._makers, self._removers = self._handlers()

    def prepare(self) -> None:
        """Claim the tenant namespace, assert its sysctls and load the guard; nothing that is so already changes.

        Raises ``PermanentFault`` where the kernel keeps bridged packets from the filters.
        """
        self.devices.claim()
        with namespaces.entered(self.namespace):
            if not Path(_BRIDGE_SYSCTLS).is_dir():
                raise PermanentFault(
                    "security groups need the kernel's br_netfilter; load it: modprobe br_netfilter",
                    reason="KernelModuleMissing",
                )
            sysctls.make_so(sysctls.TENANTS)
        self.tables.load_guard()

    def close(self) -> None:
        """Close sockets; everything that was made stays."""
        self.uplinks.close()
        self.host.close()
        self.tenants.close()
        self.neighbours.close()
        self.shaping.close()
        self._nft.close()
        self._generation.close()
        self._flows.close()
        os.close(self.namespace)

    def make(self, changes: Changes) -> None:
        """Make the facts so."""
        if changes.kind is GuardElement:
            self.tables.make_elements(_elements(changes.facts), _elements(changes.replaced))
        else:
            self._makers[changes.kind](changes.facts)

    def remove(self, changes: Changes) -> None:
        """Take the facts away; those that are gone already are no error."""
        self._removers[changes.kind](changes.facts)

    def _handlers(self) -> tuple[dict[type[Fact], Change], dict[type[Fact], Change]]:
        devices, tables, run_dir = self.devices, self.tables, self.settings.run_dir
        makers: dict[type[Fact], Change] = {
            Bridge: _each(devices.make_bridge),
            Vxlan: _each(devices.make_vxlan),
            Uplink: _each(self.uplinks.make),
            Service: _each(devices.make_service),
            Funnel: _each(devices.make_funnel),
            Tap: _each(devices.make_tap),
            PacketLimit: tables.make_limits,
            Shaper: _each(self._shape),
            Diversion: _each(self._divert),
            BridgeEntry: tables.make_entries,
            TunnelEntry: tables.make_entries,
            Neighbour: tables.make_entries,
            HostsFile: _each(lambda fact: hosts_files.write(run_dir, fact)),
        }
        removers: dict[type[Fact], Change] = {
            Bridge: _each(devices.remove),
            Vxlan: _each(devices.remove),
            Uplink: _each(self.uplinks.remove),
            Service: _each(devices.remove_service),
            Funnel: _each(devices.remove),
            Tap: _each(devices.detach_tap),
            PacketLimit: tables.remove_limits,
            Shaper: _each(lambda fact: self.shaping.release(devices.index(fact.device))),
            Diversion: _each(lambda fact: self.shaping.let_pass(devices.index(fact.device))),
            GuardElement: tables.remove_elements,
            BridgeEntry: tables.remove_entries,
            TunnelEntry: tables.remove_entries,
            Neighbour: tables.remove_entries,
            HostsFile: _each(lambda fact: hosts_files.remove(run_dir, fact)),
        }
        return makers, removers

    def _shape(self, fact: Shaper) -> None:
        self.shaping.shape(self.devices.index(fact.device), fact.kilobits_per_second)

    def _divert(self, fact: Diversion) -> None:
        self.shaping.divert(self.devices.index(fact.device), self.devices.index(fact.funnel))


def _elements(facts: tuple[Fact, ...]) -> tuple[GuardElement, ...]:
    return tuple(fact for fact in facts if isinstance(fact, GuardElement))


def _each(change: Change) -> Change:
    def change_all(facts: tuple[Any, ...]) -> None:
        for fact in facts:
            change(fact)

    return change_all
