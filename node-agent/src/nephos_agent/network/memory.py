"""The in-memory twin of the network driver: the same promises, no kernel."""

from __future__ import annotations

from typing import Final

from nephos_agent.network.desired import HostContext, facts
from nephos_agent.network.model import HostNetwork, HostRouter
from nephos_agent.network.names import tap_name
from nephos_agent.network.observed import Observed
from nephos_agent.network.protocol import NetworkListener
from nephos_agent.network.router.desired import neighbour_facts, on_bridges, router_facts
from nephos_agent.network.traffic import Passed, PortTraffic
from nephos_api.errors import TemporaryFault

_UNDERLAY: Final = "192.0.2.1"
_PREFIX: Final = "nephos"


class MemoryNetwork:
    """``NetworkDriver`` that remembers. A tap counts as open as soon as it is made, unless told otherwise."""

    def __init__(self, host: str, *, taps_open_by_themselves: bool = True) -> None:
        self._host = host
        self._taps_open_by_themselves = taps_open_by_themselves
        self._taps: set[str] = set()
        self._open: set[str] = set()
        self._plugged: dict[str, str] = {}
        """The network of each port that is plugged, by UIDs."""
        self._listener: NetworkListener = lambda _uid: None
        self.applied: dict[str, HostNetwork] = {}
        """The networks that the host carries, by UID, as last described."""
        self.applied_routers: dict[str, HostRouter] = {}
        """The routers that the host carries, by UID, as last described."""
        self.claimed: set[str] = set()
        """The routers whose outside addresses were announced again."""

    async def start(self, listener: NetworkListener) -> None:
        """See ``NetworkDriver.start``."""
        self._listener = listener

    async def close(self) -> None:
        """See ``NetworkDriver.close``."""

    async def create_tap(self, port_uid: str, mac: str, mtu: int) -> str:  # noqa: ARG002  # why: the protocol's names
        """See ``NetworkDriver.create_tap``."""
        if port_uid not in self._open:
            self._plugged.pop(port_uid, None)
        self._taps.add(port_uid)
        if self._taps_open_by_themselves:
            self._open.add(port_uid)
        return tap_name(port_uid)

    async def apply(self, network: HostNetwork) -> None:
        """See ``NetworkDriver.apply``."""
        if not network.keep_unknown:
            self._unplug_all(network.uid, but=frozenset(port.uid for port in network.ports))
        for port in network.ports:
            if port.host == self._host and port.uid in self._taps & self._open:
                self._plugged[port.uid] = network.uid
        self.applied[network.uid] = network

    async def plugged(self) -> frozenset[str]:
        """See ``NetworkDriver.plugged``."""
        return frozenset(self._plugged.keys() & self._open)

    async def traffic(self) -> tuple[PortTraffic, ...]:
        """Return that nothing passed, and nothing was dropped."""
        nothing = Passed(0, 0)
        return tuple(PortTraffic(uid, nothing, nothing, ()) for uid in sorted(await self.plugged()))

    async def unplug(self, port_uid: str) -> None:
        """See ``NetworkDriver.unplug``."""
        self._taps.discard(port_uid)
        self._open.discard(port_uid)
        self._plugged.pop(port_uid, None)

    async def networks(self) -> frozenset[str]:
        """See ``NetworkDriver.networks``."""
        return frozenset(self.applied)

    async def remove(self, network_uid: str) -> None:
        """See ``NetworkDriver.remove``."""
        self.applied.pop(network_uid, None)
        self._unplug_all(network_uid, but=frozenset())

    async def observed(self) -> Observed:
        """Return what follows from the descriptions, for taps that are open."""
        context = HostContext(self._host, _UNDERLAY, _PREFIX, "")
        taps = frozenset(tap_name(port_uid) for port_uid in await self.plugged())
        networks = (facts(network, context, taps) for network in self.applied.values())
        routers = {
            uid: router_facts(router, context) | neighbour_facts(router.neighbours)
            for uid, router in self.applied_routers.items()
        }
        legs = (frozenset(on_bridges(inside)) for inside in routers.values())
        return Observed(frozenset().union(*networks, *legs), routers)

    async def apply_router(self, router: HostRouter) -> None:
        """See ``NetworkDriver.apply_router``."""
        missing = router.networks_on(self._host) - self.applied.keys()
        if missing:
            raise TemporaryFault(f"router {router.uid}: network {min(missing)} is not here", reason="NetworkMissing")
        self.applied_routers[router.uid] = router

    async def routers(self) -> frozenset[str]:
        """See ``NetworkDriver.routers``."""
        return frozenset(self.applied_routers)

    async def remove_router(self, router_uid: str) -> None:
        """See ``NetworkDriver.remove_router``."""
        self.applied_routers.pop(router_uid, None)

    async def claim(self, router_uid: str) -> None:
        """See ``NetworkDriver.claim``."""
        self.claimed.add(router_uid)

    async def answering(self, router_uid: str) -> frozenset[str]:
        """See ``NetworkDriver.answering``."""
        router = self.applied_routers.get(router_uid)
        if router is None or router.gateway is None or not router.is_enabled:
            return frozenset()
        return frozenset(each.uid for each in router.floating_ips)

    def open_tap(self, port_uid: str) -> None:
        """Do as QEMU when it starts."""
        self._open.add(port_uid)

    def close_tap(self, port_uid: str) -> None:
        """Do as QEMU when it ends, and have the listener told."""
        self._open.discard(port_uid)
        self.disturb(self._plugged.get(port_uid, ""))

    def disturb(self, uid: str) -> None:
        """Tell the listener that somebody changed the network or router."""
        self._listener(uid)

    def _unplug_all(self, network_uid: str, but: frozenset[str]) -> None:
        gone = [port for port, network in self._plugged.items() if network == network_uid and port not in but]
        for port in gone:
            del self._plugged[port]
