"""The in-memory twin of the network driver: the same promises, no kernel."""

from __future__ import annotations

from nephos_agent.network.model import HostNetwork
from nephos_agent.network.names import tap_name
from nephos_agent.network.protocol import NetworkListener


class MemoryNetwork:
    """``NetworkDriver`` that remembers. A tap counts as open as soon as it is made, unless told otherwise."""

    def __init__(self, host: str, *, taps_open_by_themselves: bool = True) -> None:
        self._host = host
        self._taps_open_by_themselves = taps_open_by_themselves
        self._taps: set[str] = set()
        self._open: set[str] = set()
        self._plugged: set[str] = set()
        self._listener: NetworkListener = lambda _uid: None
        self.applied: dict[str, HostNetwork] = {}
        """The networks that the host carries, by UID, as last described."""

    async def start(self, listener: NetworkListener) -> None:
        """See ``NetworkDriver.start``."""
        self._listener = listener

    async def close(self) -> None:
        """See ``NetworkDriver.close``."""

    async def create_tap(self, port_uid: str, mac: str, mtu: int) -> str:  # noqa: ARG002  # why: the protocol's names
        """See ``NetworkDriver.create_tap``."""
        if port_uid not in self._open:
            self._plugged.discard(port_uid)
        self._taps.add(port_uid)
        if self._taps_open_by_themselves:
            self._open.add(port_uid)
        return tap_name(port_uid)

    async def apply(self, network: HostNetwork) -> None:
        """See ``NetworkDriver.apply``."""
        before = self.applied.get(network.uid)
        gone = {port.uid for port in before.ports} - {port.uid for port in network.ports} if before else set()
        if not network.keep_unknown:
            self._plugged -= gone
        local = {port.uid for port in network.ports if port.host == self._host}
        self._plugged |= local & self._taps & self._open
        self.applied[network.uid] = network

    async def plugged(self) -> frozenset[str]:
        """See ``NetworkDriver.plugged``."""
        return frozenset(self._plugged & self._open)

    async def unplug(self, port_uid: str) -> None:
        """See ``NetworkDriver.unplug``."""
        for known in (self._taps, self._open, self._plugged):
            known.discard(port_uid)

    async def networks(self) -> frozenset[str]:
        """See ``NetworkDriver.networks``."""
        return frozenset(self.applied)

    async def remove(self, network_uid: str) -> None:
        """See ``NetworkDriver.remove``."""
        network = self.applied.pop(network_uid, None)
        if network:
            self._plugged -= {port.uid for port in network.ports}

    def open_tap(self, port_uid: str) -> None:
        """Do as QEMU when it starts."""
        self._open.add(port_uid)

    def close_tap(self, port_uid: str) -> None:
        """Do as QEMU when it ends, and have the listener told."""
        self._open.discard(port_uid)
        self.disturb(next((uid for uid, network in self.applied.items() if _has_port(network, port_uid)), ""))

    def disturb(self, network_uid: str) -> None:
        """Tell the listener that somebody changed the network."""
        self._listener(network_uid)


def _has_port(network: HostNetwork, port_uid: str) -> bool:
    return any(port.uid == port_uid for port in network.ports)
