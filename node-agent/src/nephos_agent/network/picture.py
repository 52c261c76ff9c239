"""The driver's picture of what holds on this host: learnt once from the kernel, then kept by what is changed."""

from __future__ import annotations

from collections.abc import Iterable

from nephos_agent.network.facts import (
    DEVICES,
    OUTLIVING,
    Bridge,
    Fact,
    GuardElement,
    GuardSet,
    Key,
    Service,
    Tap,
    Uplink,
    Vxlan,
)
from nephos_agent.network.names import POLICY_PREFIX
from nephos_agent.network.rate_facts import Funnel


class Picture:
    """Facts by the device that they lie on."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._by_device: dict[str, dict[Key, Fact]] = {}
        self._devices: dict[str, Fact] = {}
        """What each device itself is."""
        self.add(facts)

    def add(self, facts: Iterable[Fact]) -> None:
        """Take the facts in; each replaces the one with its key."""
        for fact in facts:
            self._by_device.setdefault(fact.device, {})[fact.key] = fact
            if isinstance(fact, DEVICES):
                self._devices[fact.device] = fact

    def remove(self, facts: Iterable[Fact]) -> None:
        """Forget the facts, and of a device what goes with it."""
        for fact in facts:
            on_device = self._by_device.get(fact.device, {})
            on_device.pop(fact.key, None)
            if isinstance(fact, DEVICES):
                self._devices.pop(fact.device, None)
                for other in tuple(on_device.values()):
                    if not isinstance(other, OUTLIVING):
                        del on_device[other.key]
            if not on_device:
                self._by_device.pop(fact.device, None)

    def remove_devices(self, devices: Iterable[str]) -> None:
        """Forget everything on the devices."""
        for device in devices:
            self._by_device.pop(device, None)
            self._devices.pop(device, None)

    def on(self, devices: Iterable[str]) -> frozenset[Fact]:
        """Return the facts on the devices."""
        return frozenset(fact for device in devices for fact in self._by_device.get(device, {}).values())

    def get(self, device: str, key: Key) -> Fact | None:
        """Return the fact with that key on the device, if there is one."""
        return self._by_device.get(device, {}).get(key)

    def holding(self, facts: Iterable[Fact]) -> frozenset[Fact]:
        """Return those of the facts that hold."""
        return frozenset(fact for fact in facts if self.get(fact.device, fact.key) == fact)

    def replaces(self, facts: Iterable[Fact]) -> bool:
        """Tell whether any of the facts is another state of something that is there."""
        return bool(self.replaced(facts))

    def replaced(self, facts: Iterable[Fact]) -> frozenset[Fact]:
        """Return what is there of which any of the facts is another state."""
        there = ((fact, self.get(fact.device, fact.key)) for fact in facts)
        return frozenset(held for fact, held in there if held is not None and held != fact)

    def all(self) -> frozenset[Fact]:
        """Return every fact."""
        return self.on(self._by_device)

    def devices(self) -> frozenset[str]:
        """Return the names of all devices that something is known of."""
        return frozenset(self._by_device)

    def taps(self) -> tuple[Tap, ...]:
        """Return the taps that are bridged."""
        return tuple(fact for facts in self._by_device.values() for fact in facts.values() if isinstance(fact, Tap))

    def funnels(self) -> tuple[Funnel, ...]:
        """Return the devices that limit what guests send."""
        return tuple(fact for facts in self._by_device.values() for fact in facts.values() if isinstance(fact, Funnel))

    def tap(self, device: str) -> Tap | None:
        """Return the tap of that name, if it is bridged."""
        found = self._devices.get(device)
        return found if isinstance(found, Tap) else None

    def service(self, device: str) -> Service | None:
        """Return the service whose leg the device is, if there is one."""
        found = self._devices.get(device)
        return found if isinstance(found, Service) else None

    def device(self, name: str) -> Fact | None:
        """Return what the device itself is, if there is one of that name."""
        return self._devices.get(name)

    def network_of(self, device: str) -> str | None:
        """Return the UID of the network that the device belongs to."""
        match self._devices.get(device):
            case Bridge() | Vxlan() | Uplink() | Service() as found:
                return found.network_uid
            case Tap() as found:
                return self.network_of(found.bridge)
            case Funnel() as found:
                return self.network_of(found.tap)
            case _:
                return None

    def policies(self) -> dict[str, str]:
        """Return the bridge of the network that each policy belongs to."""
        return {
            device: fact.rest[0]
            for device, facts in self._by_device.items()
            if device.startswith(POLICY_PREFIX)
            for fact in facts.values()
            if isinstance(fact, GuardElement) and fact.set is GuardSet.POLICY
        }

    def networks(self) -> frozenset[str]:
        """Return the UIDs of the networks of which there is any device."""
        return frozenset(
            fact.network_uid
            for facts in self._by_device.values()
            for fact in facts.values()
            if isinstance(fact, (Bridge, Vxlan, Uplink, Service))
        )
