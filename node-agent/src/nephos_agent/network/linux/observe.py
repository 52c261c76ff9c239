"""Reads off the kernel and the disk which facts hold on this host. Runs in the kernel thread and blocks."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from nephos_agent.network.facts import (
    Bridge,
    Dnsmasq,
    Fact,
    Service,
    Tap,
    Vxlan,
)
from nephos_agent.network.linux import hosts_files, namespaces
from nephos_agent.network.linux import services as linux_services
from nephos_agent.network.linux.entries import fact_of
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.link_reader import (
    GUEST_PORT,
    OPEN_GUEST_PORT,
    SERVICE_PORT,
    TUNNEL_PORT,
    Link,
    PortFlags,
)
from nephos_agent.network.linux.neighbours import FAMILIES
from nephos_agent.network.names import Mark, funnel_name, network_names, read_mark, tap_name
from nephos_agent.network.rate_facts import Funnel


@dataclass(frozen=True)
class Observation:
    """What was found."""

    facts: frozenset[Fact]
    indices: dict[str, int]
    """Of the devices in the tenant namespace that are this cloud's."""
    open_taps: frozenset[str]
    """Taps in the tenant namespace that some process has open."""
    loose_taps: frozenset[str]
    """Taps in the tenant namespace that are on no bridge."""


def observe(kernel: Kernel, units: frozenset[str]) -> Observation:
    """Read everything once; ``units`` are the processes that the launcher has."""
    links = {link.index: link for link in kernel.tenants.all()}
    marks = {link.name: mark for link in links.values() if (mark := _own_mark(link, kernel.settings.cloud_id))}
    own = [link for link in links.values() if link.name in marks]
    devices = {link.index: link.name for link in own}
    facts: set[Fact] = set()
    for link in own:
        master = links.get(link.master) if link.master is not None else None
        facts |= _device_facts(kernel, link, marks[link.name], master.name if master else "")
    facts |= _table_facts(kernel, devices)
    facts |= kernel.tables.read_elements() | kernel.tables.read_limits()
    facts |= set(kernel.shaping.observe(devices))
    for fact in tuple(facts):
        if isinstance(fact, Service):
            facts |= _service_facts(kernel, fact, units)
    taps = [link for link in own if link.kind == "tun"]
    return Observation(
        facts=frozenset(facts),
        indices={link.name: link.index for link in own},
        open_taps=frozenset(link.name for link in taps if link.has_carrier),
        loose_taps=frozenset(link.name for link in taps if link.master is None),
    )


def observe_device(kernel: Kernel, name: str) -> Fact | None:
    """Return what the device of that name in the tenant namespace is, or None where it is none of this cloud's."""
    link = kernel.tenants.get(name)
    mark = _own_mark(link, kernel.settings.cloud_id) if link else None
    if link is None or mark is None:
        return None
    with namespaces.entered(kernel.namespace):
        master = socket.if_indextoname(link.master) if link.master is not None else ""
    return next(iter(_device_facts(kernel, link, mark, master)), None)


def _own_mark(link: Link, cloud_id: str) -> Mark | None:
    mark = read_mark(link.alias)
    return mark if mark and mark.cloud_id == cloud_id else None


def _device_facts(kernel: Kernel, link: Link, mark: Mark, master: str) -> set[Fact]:
    names = network_names(mark.uid, kernel.settings.namespace_prefix)
    if link.name == names.bridge:
        return {Bridge(link.name, mark.uid, link.mtu, link.calls_netfilter, intact=link.is_up)}
    if link.kind == "vxlan" and link.name == names.vxlan:
        intact = _is_port(link, TUNNEL_PORT)
        return {Vxlan(link.name, mark.uid, master, link.vni or 0, link.local or "", link.mtu, intact)}
    if link.name == names.uplink:
        return {kernel.uplinks.observe(link, mark.uid, master)}
    if link.kind == "veth" and link.name == names.service:
        leg = linux_services.observe(kernel.settings.netns_dir / names.namespace)
        if leg is None:
            return {Service(link.name, mark.uid, master, "", "", link.mtu, (), intact=False)}
        intact = _is_port(link, SERVICE_PORT) and leg.is_up
        return {Service(link.name, mark.uid, master, names.namespace, leg.mac, leg.mtu, leg.addresses, intact)}
    if link.name == funnel_name(mark.uid):
        return {Funnel(link.name, mark.uid, tap_name(mark.uid), intact=link.is_up)}
    if link.kind == "tun" and mark.kind == "port" and master:
        takes_any_mac = link.port_flags == OPEN_GUEST_PORT
        intact = _is_port(link, OPEN_GUEST_PORT if takes_any_mac else GUEST_PORT)
        return {Tap(link.name, mark.uid, master, link.mtu, intact, takes_any_mac)}
    return set()


def _is_port(link: Link, flags: PortFlags) -> bool:
    return link.is_up and link.port_flags == flags


def _table_facts(kernel: Kernel, devices: dict[int, str]) -> set[Fact]:
    entries = (entry for family in FAMILIES for entry in kernel.neighbours.dump(family) if entry.index in devices)
    return {fact for entry in entries if (fact := fact_of(entry, devices[entry.index]))}


def _service_facts(kernel: Kernel, service: Service, units: frozenset[str]) -> set[Fact]:
    """Return what lies in the service namespace and in dnsmasq's folder."""
    settings = kernel.settings
    names = network_names(service.network_uid, settings.namespace_prefix)
    facts: set[Fact] = set(hosts_files.read(settings.run_dir, names.directory, service.device))
    config = hosts_files.read_configuration(settings.run_dir, names.directory)
    if config is not None and names.unit in units:
        facts.add(Dnsmasq(service.device, names.unit, names.namespace, names.directory, config))
    return facts
