"""Our mark in a domain's metadata: whose it is, and from what it was defined."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Mark:
    """What the mark says."""

    cloud_id: str
    server_uid: str
    namespace: str
    server_name: str
    placement_epoch: int
    spec_hash: str


def parse(element: str) -> Mark | None:
    """Read the element that libvirt returns for our namespace; None where it is not a mark of ours."""
    try:
        root = ET.fromstring(element)  # noqa: S314  # why: libvirt's own answer, parsed by libvirt before
    except ET.ParseError:
        return None
    found = {child.tag.rpartition("}")[2]: child.text or "" for child in root}
    try:
        return Mark(
            cloud_id=found["cloud"],
            server_uid=found["uid"],
            namespace=found["namespace"],
            server_name=found["name"],
            placement_epoch=int(found["epoch"]),
            spec_hash=found["hash"],
        )
    except (KeyError, ValueError):
        return None
