"""What the agent needs of the host's network. Both drivers pass ``tests/contract/test_network.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nephos_agent.network.model import HostNetwork, HostRouter
from nephos_agent.network.observed import Observed
from nephos_agent.network.traffic import PortTraffic

NetworkListener = Callable[[str], None]
"""Called in the event loop with the UID of a network or router that somebody changed behind our back; "" means all."""


class NetworkDriver(Protocol):
    """Every call may be repeated: what is so already costs nothing and is no error."""

    async def start(self, listener: NetworkListener) -> None:
        """Make the tenant namespace, learn what is there already (never start from an empty picture)."""

    async def close(self) -> None:
        """Stop listening; everything that was made stays and works."""

    async def create_tap(self, port_uid: str, mac: str, mtu: int) -> str:
        """Make the port's tap, down, where QEMU can open it, unless QEMU has it already; return its name."""

    async def apply(self, network: HostNetwork) -> None:
        """Make the host carry the network as described: bridge, VXLAN, FDB, neighbours, filters, DHCP, DNS, metadata.

        Local ports whose tap exists are moved into the tenant namespace, filtered and bridged; those that are not
        described any more are unplugged. Cost follows the change, not the size.
        """

    async def plugged(self) -> frozenset[str]:
        """Return the UIDs of the ports whose taps are filtered and bridged."""

    async def traffic(self) -> tuple[PortTraffic, ...]:
        """Return what passed each plugged port and what was dropped of it, in a few dumps however many there are."""

    async def unplug(self, port_uid: str) -> None:
        """Remove the port's tap and filters."""

    async def networks(self) -> frozenset[str]:
        """Return the UIDs of the networks of this cloud that the host carries."""

    async def remove(self, network_uid: str) -> None:
        """Remove all of a network from this host."""

    async def observed(self) -> Observed:
        """Return what the kernel has of this cloud's networks and routers, read now; changes nothing."""

    async def apply_router(self, router: HostRouter) -> None:
        """Make the host carry the router as described; cost follows the change, not the size.

        Its networks, the external one too, are applied before it; raises ``TemporaryFault`` where one is missing.
        An address that is new here (a floating one, or the router's own on the gateway host) is announced.
        """

    async def routers(self) -> frozenset[str]:
        """Return the UIDs of the routers of this cloud that the host carries."""

    async def remove_router(self, router_uid: str) -> None:
        """Remove all of a router from this host; its networks are removed after it."""

    async def claim(self, router_uid: str) -> None:
        """Announce the router's own outside addresses again, where this is its gateway host as last described.

        Another host that still has one of them stops answering for it as long as its kernel lives.
        """

    async def answering(self, router_uid: str) -> frozenset[str]:
        """Return the UIDs of the floating IPs, as last described, that answer here when they are asked by ARP."""
