"""The network under the cloud: a bridge in a namespace of its own, the machine and every host with one leg on it.

The bridge is not in the machine's namespace, where a firewall (Docker's, say) may drop bridged frames.
"""

import subprocess
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import IPRoute, NetNS, netns

from nephos_dev.layout import HostLayout, Layout

_BRIDGE = "underlay"
_HOST_INTERFACE = "eth0"
_BRIDGE_FILTER = Path("/proc/sys/net/bridge")
_NETNS_FOLDER = Path("/run/netns")


def ensure_underlay(layout: Layout) -> None:
    """Make the bridge and the machine's leg on it, as far as they are missing."""
    if not _BRIDGE_FILTER.is_dir():
        # Security of bridged frames rests on it, and unlike other modules nothing loads it on demand.
        subprocess.run(["modprobe", "br_netfilter"], check=True, capture_output=True)
    ensure_namespace(layout.underlay_netns)
    with IPRoute() as machine, NetNS(layout.underlay_netns) as underlay:
        if not underlay.link_lookup(ifname=_BRIDGE):
            underlay.link("add", ifname=_BRIDGE, kind="bridge")
            underlay.link("set", index=index_of(underlay, _BRIDGE), state="up")
        if not machine.link_lookup(ifname=layout.underlay_interface):
            peer = {"ifname": "machine", "net_ns_fd": layout.underlay_netns}
            machine.link("add", ifname=layout.underlay_interface, kind="veth", peer=peer)
        underlay.link("set", index=index_of(underlay, "machine"), master=index_of(underlay, _BRIDGE), state="up")
        _configure(machine, layout.underlay_interface, layout.gateway, layout.underlay.prefixlen)


def ensure_host_namespace(layout: Layout, host: HostLayout) -> None:
    """Make a host's network namespace with its leg on the underlay, as far as they are missing."""
    ensure_namespace(host.netns)
    with NetNS(layout.underlay_netns) as underlay, NetNS(host.netns) as namespace:
        if not namespace.link_lookup(ifname=_HOST_INTERFACE):
            peer = {"ifname": _HOST_INTERFACE, "net_ns_fd": host.netns}
            underlay.link("add", ifname=host.name, kind="veth", peer=peer)
        underlay.link("set", index=index_of(underlay, host.name), master=index_of(underlay, _BRIDGE), state="up")
        _configure(namespace, _HOST_INTERFACE, host.address, host.prefix_length)
        namespace.route("replace", dst="default", gateway=str(layout.gateway))


def ensure_namespace(name: str) -> None:
    """Make a network namespace unless it is there; its loopback is up."""
    if name not in netns.listnetns():
        netns.create(name)
    with NetNS(name) as namespace:
        namespace.link("set", index=index_of(namespace, "lo"), state="up")


def index_of(route: IPRoute, interface: str) -> int:
    """Return the index of an interface that is there."""
    return int(route.link_lookup(ifname=interface)[0])


def remove_underlay(layout: Layout) -> None:
    """Remove the bridge and the machine's leg on it."""
    with IPRoute() as machine:
        # By hand: the kernel takes the devices of a removed namespace away only some time later.
        for index in machine.link_lookup(ifname=layout.underlay_interface):
            machine.link("del", index=index)
    remove_namespace(layout.underlay_netns)


def remove_namespace(name: str) -> None:
    """Remove a network namespace, and with it the devices in it and their peers. Nothing happens if there is none."""
    if name in netns.listnetns():
        netns.remove(name)


def release_namespace_folder() -> None:
    """Undo the mount and the folder that the first `ip netns add` of a machine makes, once no namespace is left."""
    if not _NETNS_FOLDER.is_dir() or any(_NETNS_FOLDER.iterdir()):
        return
    # EBUSY is the right answer to a namespace that somebody made meanwhile, so the results are not looked at.
    if _NETNS_FOLDER.is_mount():
        subprocess.run(["umount", str(_NETNS_FOLDER)], check=False, stderr=subprocess.DEVNULL)
    with suppress(OSError):
        _NETNS_FOLDER.rmdir()


def _configure(route: IPRoute, interface: str, address: IPv4Address, prefix_length: int) -> None:
    index = index_of(route, interface)
    route.addr("replace", index=index, address=str(address), prefixlen=prefix_length)
    route.link("set", index=index, state="up")
