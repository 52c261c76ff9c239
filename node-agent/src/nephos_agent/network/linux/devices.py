"""The devices of tenant networks: bridges, tunnels, taps, and the legs of service namespaces."""

from __future__ import annotations

from typing import Final

from nephos_agent.network.facts import Bridge, Service, Tap, Vxlan
from nephos_agent.network.linux import namespaces, sysctls
from nephos_agent.network.linux import services as linux_services
from nephos_agent.network.linux.link_reader import GUEST_PORT, OPEN_GUEST_PORT, SERVICE_PORT, TUNNEL_PORT, Link
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.taps import create_tap
from nephos_agent.network.names import Mark, network_names, read_mark, tap_name
from nephos_agent.network.rate_facts import Funnel
from nephos_agent.network.settings import VXLAN_UDP_PORT, LinuxSettings
from nephos_api.errors import TemporaryFault
from nephos_api.identity import mac_address

_FUNNEL_MTU: Final = 9000
"""Says nothing: frames of any size are put through."""
_HOST_END: Final = "fe"
"""First octet of a tap's own MAC, as libvirt does: never the guest's, never the lowest of a bridge."""


class Devices:
    """Devices in the host's and in the tenant namespace. Calls block; they belong to the thread that makes them."""

    def __init__(self, settings: LinuxSettings, host: Links, tenants: Links, namespace: int) -> None:
        self._settings = settings
        self._host = host
        self._tenants = tenants
        self._namespace = namespace

    def claim(self) -> None:
        """Mark the tenant namespace, on its loopback device.

        Raises ``PermanentFault`` where the namespace is somebody else's.
        """
        self._tenants.claim("lo", str(Mark(self._settings.cloud_id, "tenants", self._settings.host)))

    def index(self, name: str) -> int:
        """Return the index of a device in the tenant namespace. Raises ``TemporaryFault`` where it is missing."""
        return self._link(name).index

    def make_bridge(self, fact: Bridge) -> None:
        """Make the bridge so."""
        address = mac_address(fact.network_uid, "bridge")
        mark = self._mark("network", fact.network_uid)
        # Without spanning tree no port waits before it forwards, but the kernel announces each once that time is over.
        own = {"br_mcast_snooping": 0, "br_forward_delay": 0}
        link = self._tenants.add(fact.device, "bridge", mark, fact.mtu, **own, address=address)
        call = int(fact.judges_flows)
        settings = {**own, "br_nf_call_iptables": call, "br_nf_call_ip6tables": call}
        self._tenants.set(link.index, mtu=fact.mtu, state="up", kind="bridge", **settings)

    def make_vxlan(self, fact: Vxlan) -> None:
        """Make the tunnel so: born in the host's namespace, where its outer packets stay, living in the tenants'."""
        link = self._tenants.get(fact.device)
        if link and (link.vni, link.local) != (fact.vni, fact.local):
            self._tenants.delete(fact.device)
            link = None
        if link is None:
            self._host.add_elsewhere(
                self._namespace,
                fact.device,
                "vxlan",
                fact.mtu,
                vxlan_id=fact.vni,
                vxlan_port=VXLAN_UDP_PORT,
                vxlan_learning=False,
                **{"vxlan_local6" if ":" in fact.local else "vxlan_local": fact.local},
            )
        link = self._tenants.claim(fact.device, self._mark("network", fact.network_uid))
        self._tenants.join(link, self.index(fact.bridge), TUNNEL_PORT, fact.mtu)

    def make_service(self, fact: Service) -> None:
        """Make the service namespace and its leg so; a leg whose other end is out of reach is made anew."""
        path = self._settings.netns_dir / fact.namespace
        if linux_services.observe(path) is None:
            self._tenants.delete(fact.device)
        linux_services.make(path, fact, self._tenants, self._mark("network", fact.network_uid))
        self._tenants.join(self._link(fact.device), self.index(fact.bridge), SERVICE_PORT, fact.mtu)

    def make_tap(self, fact: Tap) -> None:
        """Move the tap to its bridge, if some process has it open; a tap that QEMU is yet to open has to wait."""
        link = self._tenants.get(fact.device)
        if link is None:
            outside = self._host.get(fact.device)
            if outside is None or not outside.has_carrier:
                raise TemporaryFault(f"tap {fact.device} was closed meanwhile", reason="TapClosed")
            self._host.set(outside.index, state="down", net_ns_fd=self._namespace)
            link = self._link(fact.device)
        flags = OPEN_GUEST_PORT if fact.takes_any_mac else GUEST_PORT
        self._tenants.join(link, self.index(fact.bridge), flags, fact.mtu)

    def make_funnel(self, fact: Funnel) -> None:
        """Make the device that what a guest sends goes through."""
        link = self._tenants.add(fact.device, "ifb", self._mark("port", fact.port_uid), _FUNNEL_MTU)
        self._tenants.set(link.index, state="up")

    def detach_tap(self, fact: Tap) -> None:
        """Take the tap off its bridge. One that nobody has open goes; one that QEMU has stays, silent."""
        link = self._tenants.get(fact.device)
        if link is None:
            return
        if link.has_carrier:
            self._tenants.set(link.index, state="down", master=0)
        else:
            self._tenants.delete(fact.device)

    def remove(self, fact: Bridge | Vxlan | Funnel) -> None:
        """Remove the device."""
        self._tenants.delete(fact.device)

    def remove_service(self, fact: Service) -> None:
        """Remove the service namespace and its leg."""
        self._tenants.delete(fact.device)
        names = network_names(fact.network_uid, self._settings.namespace_prefix)
        namespaces.delete(self._settings.netns_dir / names.namespace)

    def prepare_tap(self, port_uid: str, mac: str, mtu: int) -> str:
        """Make the port's tap where QEMU can open it, unless QEMU has it; return its name."""
        name, mark = tap_name(port_uid), self._mark("port", port_uid)
        inside, outside = self._tenants.get(name), self._host.get(name)
        if (inside and inside.has_carrier) or (outside and outside.has_carrier):
            return name
        if inside:
            self._tenants.delete(name)
        if outside is None:
            create_tap(name)
        link = self._host.claim(name, mark)
        sysctls.make_so(sysctls.on(name, sysctls.HOST_DEVICE))
        self._host.set(link.index, mtu=mtu, address=_HOST_END + mac[2:])
        return name

    def delete_tap(self, port_uid: str) -> None:
        """Remove the port's tap, wherever it is and whoever has it."""
        name, mark = tap_name(port_uid), self._mark("port", port_uid)
        for links in (self._tenants, self._host):
            link = links.get(name)
            if link and link.alias == mark:
                links.delete(name)

    def open_taps(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of the taps that some process has open, in either namespace."""
        found = (self._tenants.get(name) or self._host.get(name) for name in names)
        return frozenset(link.name for link in found if link and link.has_carrier and self._is_own(link))

    def is_inside(self, name: str) -> bool:
        """Tell whether the tenant namespace has the device."""
        return self._tenants.get(name) is not None

    def waiting_taps(self) -> frozenset[str]:
        """Return the names of this cloud's taps that are in the host's namespace still."""
        return frozenset(link.name for link in self._host.all() if link.kind == "tun" and self._is_own(link))

    def idle_taps(self) -> frozenset[str]:
        """Return the UIDs of the ports whose taps nobody has open, in either namespace."""
        marks = (
            read_mark(link.alias)
            for links in (self._tenants, self._host)
            for link in links.all()
            if link.kind == "tun" and not link.has_carrier
        )
        return frozenset(
            mark.uid for mark in marks if mark and mark.cloud_id == self._settings.cloud_id and mark.kind == "port"
        )

    def _is_own(self, link: Link) -> bool:
        mark = read_mark(link.alias)
        return mark is not None and mark.cloud_id == self._settings.cloud_id

    def _link(self, name: str) -> Link:
        link = self._tenants.get(name)
        if link is None:
            raise TemporaryFault(f"network device {name} vanished", reason="DeviceVanished")
        return link

    def _mark(self, kind: str, uid: str) -> str:
        return str(Mark(self._settings.cloud_id, kind, uid))
