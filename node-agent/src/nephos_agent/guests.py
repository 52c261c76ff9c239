"""What the metadata service and the config drive tell a guest, from what the watches show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nephos_agent.metadata import config_drive
from nephos_agent.metadata.source import Guest, GuestNic
from nephos_agent.server.nics import nics as nics_of
from nephos_agent.watches import Watches
from nephos_api.errors import TemporaryFault

_DEFAULT_ZONE: Final = "nova"


class Guests:
    """``MetadataSource`` of this host."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches

    def guest(self, port_uid: str) -> Guest | None:
        """Return the Server that has the Port; None while not all of it is known."""
        port = self._watches.port(port_uid)
        try:
            return self.guest_of(port.spec.server_uid or "") if port else None
        except TemporaryFault:
            return None

    def guest_of(self, server_uid: str) -> Guest:
        """Return the Server as its guest is told of it. Raises TemporaryFault while not all of it is known.

        A NIC that is yet to come, at the guest's birth or later, is no reason to say nothing of the others.
        """
        server = self._watches.server(server_uid)
        if server is None:
            raise TemporaryFault(f"server {server_uid} is not placed here", reason="WaitingForPlacement")
        found = []
        for port in nics_of(server, self._watches.ports_of(server_uid)).listed:
            network = self._watches.network(port.spec.network_uid or "")
            if network is None:
                raise TemporaryFault(f"waits for Network {port.spec.network}", reason="WaitingForNetwork")
            found.append(GuestNic(port, network))
        host = self._watches.host
        zone = host.spec.availability_zone if host else _DEFAULT_ZONE
        return Guest(server=server, nics=tuple(found), availability_zone=zone)

    def config_drive_files(self, server_uid: str) -> Mapping[str, bytes]:
        """Return the files of the Server's config drive. Raises TemporaryFault while not all of it is known."""
        return config_drive.files(self.guest_of(server_uid))
