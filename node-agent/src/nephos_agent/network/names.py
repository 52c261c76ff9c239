"""Names and marks of what a network is made of on a host. All derive from UIDs: a second try finds the first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nephos_api.identity import device_name, mac_address


@dataclass(frozen=True)
class NetworkNames:
    """The names of one network's pieces."""

    bridge: str
    vxlan: str
    uplink: str
    """The way to the provider's network, of a network that is one."""
    uplink_outer: str
    """Its other end, in the host's namespace."""
    service: str
    """The service namespace's leg on the bridge."""
    namespace: str
    """The service namespace."""
    service_mac: str
    """The same on every host."""
    unit: str
    """dnsmasq, as the launcher knows it."""
    directory: str
    """dnsmasq's files, below the run directory."""


@lru_cache(maxsize=4096)
def network_names(uid: str, namespace_prefix: str) -> NetworkNames:
    """Return the names of the pieces of the network with that UID."""
    return NetworkNames(
        bridge=device_name("nbr", uid),
        vxlan=device_name("nvx", uid),
        uplink=device_name("nup", uid),
        uplink_outer=device_name("nuh", uid),
        service=device_name("nsv", uid),
        namespace=device_name(f"{namespace_prefix}-", uid),
        service_mac=mac_address(uid, "service"),
        unit=device_name(f"{namespace_prefix}-dnsmasq-", uid),
        directory=device_name("", uid),
    )


@lru_cache(maxsize=65536)
def tap_name(port_uid: str) -> str:
    """Return the name of the port's tap."""
    return device_name("tap", port_uid)


OPEN: Final = "open"
"""The policy of what is not filtered by groups: tunnels, services, routers, ports without port security."""
POLICY_PREFIX: Final = "npo"


@lru_cache(maxsize=65536)
def policy_name(network_uid: str, security_groups: tuple[str, ...]) -> str:
    """Return the name of what the ports of a network with exactly these groups (UIDs, sorted) are filtered by."""
    return device_name(POLICY_PREFIX, "/".join((network_uid, *security_groups)))


@lru_cache(maxsize=65536)
def funnel_name(port_uid: str) -> str:
    """Return the name of the device that what the port's guest sends goes through, where its bandwidth is limited."""
    return device_name("nfn", port_uid)


@dataclass(frozen=True)
class Mark:
    """Whose a device is; written into its alias (``ip link`` shows it)."""

    cloud_id: str
    kind: str
    """``tenants``, ``network`` or ``port``."""
    uid: str

    def __str__(self) -> str:
        """Return the alias."""
        return f"nephos/{self.cloud_id}/{self.kind}/{self.uid}"


def read_mark(alias: str | None) -> Mark | None:
    """Return the mark that the alias is, or None for a device that is not Nephos'."""
    parts = (alias or "").split("/")
    if len(parts) != 4 or parts[0] != "nephos":
        return None
    return Mark(*parts[1:])
