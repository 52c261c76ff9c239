"""Guests at the end of a veth, which stands in the tap's place.

The driver knows the port, so that its filters are there, and has no part in the device: to the driver a veth is no tap,
and one that it had put on the bridge itself would be gone from its picture after the first sweep.
"""

from functools import partial
from pathlib import Path

from contract.network_lab import inside
from nephos_agent.network.linux import namespaces
from nephos_agent.network.linux.link_reader import GUEST_PORT, PortFlags
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.neighbours import NeighbourSocket, bridge_entry
from nephos_dev.waiting import NotYet, wait_for

MTU = 1450
_COMPLETE = 2
"""ATF_COM: the kernel has the MAC (arp(7))."""


def plug(guest: Path, mac: str, place: Path, bridge: str, device: str, flags: PortFlags = GUEST_PORT) -> None:
    """Make the guest's namespace with a NIC ``eth0``, whose other end is a port of the bridge in that place."""
    namespaces.create(guest)
    with guest.open() as handle:
        inside(place, partial(_join, bridge, device, mac, handle.fileno(), flags))


def speak(guest: Path, address: str) -> None:
    """Bring the guest's NIC up, with that address and prefix length."""
    inside(guest, partial(_configure, address))


def wait_to_know(guest: Path, address: str) -> None:
    """Wait until the guest knows who has an address that it has called: until then, what it sends waits with it."""

    def probe() -> None:
        if not inside(guest, partial(_knows, address)):
            raise NotYet(f"nobody answers for {address}")

    wait_for(probe, what=f"{guest.name} calls {address}", timeout_s=10)


def _knows(address: str) -> bool:
    lines = Path("/proc/thread-self/net/arp").read_text().splitlines()
    return any(line.split()[0] == address and int(line.split()[2], 16) & _COMPLETE for line in lines[1:])


def _join(bridge: str, device: str, mac: str, guest: int, flags: PortFlags) -> None:
    peer = {"ifname": "eth0", "address": mac, "mtu": MTU, "net_ns_fd": guest}
    neighbours = NeighbourSocket()
    with Links() as links:
        links.add(device, "veth", "", MTU, peer=peer)
        link, master = links.get(device), links.get(bridge)
        assert link is not None
        assert master is not None
        links.join(link, master.index, flags, MTU)
        neighbours.replace([bridge_entry(link.index, mac)])
    neighbours.close()


def _configure(address: str) -> None:
    with Links() as links:
        nic = links.get("eth0")
        assert nic is not None
        links.set(1, state="up")
        links.set(nic.index, state="up")
        links.add_address(nic.index, address)
