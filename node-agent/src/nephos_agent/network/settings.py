"""What the network driver has to know of its host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

VXLAN_UDP_PORT: Final = 4789
"""RFC 7348."""


@dataclass(frozen=True)
class LinuxSettings:
    """Where this host's tenant networks live."""

    cloud_id: str
    """Marks everything that is made; what carries another mark is not touched."""
    host: str
    """Ports with this host's name are local."""
    underlay_address: str
    """This host's end of every VXLAN."""
    resolvers: tuple[str, ...] = ()
    """Where names of the world are looked up; empty means those of /etc/resolv.conf."""
    namespace_prefix: str = "nephos"
    """Name of the tenant namespace; those of the networks' services start with it."""
    run_dir: Path = Path("/run/nephos/network")
    """dnsmasq's files."""
    netns_dir: Path = Path("/run/netns")
    """Where namespaces are named."""
    host_namespace: Path | None = None
    """The namespace with the underlay and QEMU's new taps; absent means this process's own."""
    provider_bridges: Mapping[str, str] = field(default_factory=dict)
    """The bridge, in the host's namespace, of each physical network that this host reaches, by its name."""
    sweep_interval_s: float = 600.0
    """How often everything is compared with what the kernel has."""
