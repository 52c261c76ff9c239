"""Keeps watch over service namespaces: what they rely on, and whether somebody else changes something there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from nephos_agent.network.dnsmasq import SERVICE_INTERFACE
from nephos_agent.network.facts import Service
from nephos_agent.network.linux import namespaces, sysctls
from nephos_agent.network.linux.events import Events
from nephos_agent.network.linux.route_reader import connected_by
from nephos_agent.network.linux.said import Said
from nephos_agent.network.linux.services import SYSCTLS
from nephos_agent.network.names import network_names
from nephos_agent.network.picture import Picture
from nephos_agent.network.router.facts import Address
from nephos_agent.network.settings import LinuxSettings

_PLACE: Final = "service/"


class ServiceWatch:
    """Used by the kernel thread; blocks."""

    def __init__(self, settings: LinuxSettings, events: Events) -> None:
        self._settings = settings
        self._events = events

    def attend(self, service: Service) -> None:
        """Hear what others do in the namespace from now on, and set what it relies on where that is not so."""
        path = self._settings.netns_dir / service.namespace
        if not namespaces.is_namespace(path):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with namespaces.entered(descriptor):
                self._events.listen(_PLACE + service.network_uid, routes=True, rules=False)
                sysctls.make_so(SYSCTLS)
        finally:
            os.close(descriptor)

    def leave(self, service: Service) -> None:
        """Listen there no more."""
        self._events.leave(_PLACE + service.network_uid)

    def changed(self, heard: Mapping[str, Said], picture: Picture) -> frozenset[str]:
        """Return the UIDs of the networks whose service namespaces somebody else changed."""
        spoken_of = {place.removeprefix(_PLACE): said for place, said in heard.items() if place.startswith(_PLACE)}
        prefix = self._settings.namespace_prefix
        return frozenset(
            uid
            for uid, said in spoken_of.items()
            if (service := picture.service(network_names(uid, prefix).service)) and _is_other(service, said)
        )


def _is_other(service: Service, said: Said) -> bool:
    addresses = {fact.key: fact for fact in (Address(SERVICE_INTERFACE, each) for each in service.addresses)}
    connected = {(SERVICE_INTERFACE, connected_by(each)) for each in service.addresses}
    return (
        said.is_lost
        or bool(sysctls.differing(SYSCTLS, said.sysctls))
        or any(addresses.get(key) != fact for key, fact in said.facts.items())
        or bool(said.severed & connected)
    )
