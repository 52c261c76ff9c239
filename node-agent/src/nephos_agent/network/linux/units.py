"""Processes of networks and routers, as the launcher starts them in their namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nephos_agent.launcher.protocol import Unit
from nephos_agent.network.facts import Dnsmasq

_NSENTER: Final = "/usr/bin/nsenter"
_DNSMASQ: Final = "/usr/sbin/dnsmasq"


def dnsmasq_unit(process: Dnsmasq, netns_dir: Path, configuration: str, description: str) -> Unit:
    """Return the unit that runs dnsmasq in its namespace."""
    return Unit(
        name=process.unit,
        argv=(_NSENTER, f"--net={netns_dir / process.namespace}", _DNSMASQ, f"--conf-file={configuration}"),
        description=description,
    )
