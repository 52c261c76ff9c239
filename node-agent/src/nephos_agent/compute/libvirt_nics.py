"""The NICs of a running domain: read off its XML, plugged and unplugged while it runs.

libvirt attaches a NIC with its link up and sets it down right after; the tap is down until it is bridged, so nothing
passes in between either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

import libvirt
import structlog

from nephos_agent.compute.domain_xml import render_nic
from nephos_agent.compute.protocol import Nic, NicSpec

log = structlog.get_logger(__name__)
_REFUSED_BY_GUEST: Final = frozenset({libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_OPERATION_FAILED})
"""How QEMU's answer arrives while the guest boots ("guest is busy") or was asked before and has not let go."""
_GONE: Final = frozenset({libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_INVALID_ARG})


@dataclass(frozen=True)
class _Plugged:
    """A NIC, and how libvirt names and describes it."""

    nic: Nic
    alias: str
    element: ET.Element


def read(handle: libvirt.virDomain) -> tuple[Nic, ...]:
    """Return the NICs that the running domain has."""
    return tuple(found.nic for found in _plugged(handle))


def change(handle: libvirt.virDomain, wanted: Iterable[NicSpec]) -> None:
    """Plug what is missing, without a link; cut the link of what is not wanted and ask the guest to let go of it."""
    by_tap = {nic.tap: nic for nic in wanted}
    present = _plugged(handle)
    for tap in by_tap.keys() - {found.nic.tap for found in present}:
        handle.attachDeviceFlags(render_nic(by_tap[tap], is_linked=False), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    for found in present:
        if found.nic.tap not in by_tap:
            _set_link(handle, found, is_linked=False)
            _request_removal(handle, found)


def link(handle: libvirt.virDomain) -> None:
    """Give the NICs that the domain is defined with their link."""
    missing = [found for found in _plugged(handle) if not found.nic.is_linked]
    if not missing:
        return
    defined = {found.nic.tap for found in _plugged(handle, libvirt.VIR_DOMAIN_XML_INACTIVE)}
    for found in missing:
        if found.nic.tap in defined:
            _set_link(handle, found, is_linked=True)


def _plugged(handle: libvirt.virDomain, flags: int = 0) -> tuple[_Plugged, ...]:
    root = ET.fromstring(handle.XMLDesc(flags))  # noqa: S314  # why: libvirt's own answer
    return tuple(_read(element) for element in root.iterfind("devices/interface"))


def _read(element: ET.Element) -> _Plugged:
    def attribute(path: str, name: str, default: str = "") -> str:
        found = element.find(path)
        return found.get(name, default) if found is not None else default

    nic = Nic(
        tap=attribute("target", "dev"),
        mac=attribute("mac", "address"),
        mtu=int(attribute("mtu", "size", "0")),
        is_linked=attribute("link", "state", "up") == "up",
    )
    return _Plugged(nic, attribute("alias", "name"), element)


def _set_link(handle: libvirt.virDomain, found: _Plugged, *, is_linked: bool) -> None:
    if found.nic.is_linked == is_linked:
        return
    state = found.element.find("link")
    if state is None:
        state = ET.SubElement(found.element, "link")
    state.set("state", "up" if is_linked else "down")
    # the whole element as libvirt shows it: what it leaves out libvirt would take for a change
    xml = ET.tostring(found.element, encoding="unicode")
    handle.updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _request_removal(handle: libvirt.virDomain, found: _Plugged) -> None:
    try:
        handle.detachDeviceAlias(found.alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _REFUSED_BY_GUEST:
            log.info("the guest keeps a NIC for now", tap=found.nic.tap, error=str(error))
        elif error.get_error_code() not in _GONE:
            raise
