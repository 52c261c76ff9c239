"""What a guest reads about itself, as pure functions: OpenStack's layout and EC2's.

Formats: Nova's metadata (docs.openstack.org/nova, "Metadata service") and EC2's instance metadata as of 2009-04-04.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from nephos_agent.metadata.network_data import network_data
from nephos_agent.metadata.source import Guest
from nephos_agent.network.addresses import is_ipv6

LATEST: Final = "latest"
OPENSTACK_VERSIONS: Final = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    LATEST,
)
EC2_VERSIONS: Final = ("2009-04-04", LATEST)
_SINCE: Final = {
    "meta_data.json": "2012-08-10",
    "user_data": "2012-08-10",
    "vendor_data.json": "2013-10-17",
    "network_data.json": "2015-10-15",
    "vendor_data2.json": "2016-10-06",
}
"""The version in which Nova began to serve each document."""
RANDOM_SEED_BYTES: Final = 512

Tree = Mapping[str, "Tree | str"]
"""Folders and files by name."""


def tree(guest: Guest, random_seed: bytes) -> Tree:
    """Return all that the metadata service serves to the guest."""
    return {"openstack": openstack(guest, random_seed)} | dict.fromkeys(EC2_VERSIONS, ec2(guest))


def read(root: Tree, path: str) -> str | None:
    """Return the file, or the listing of the folder, that the path names; None where there is nothing.

    A slash at the end is optional, as with Nova.
    """
    node: Tree | str = root
    for part in path.split("/"):
        if not part:
            continue
        child = None if isinstance(node, str) else _child(node, part)
        if child is None:
            return None
        node = child
    return node if isinstance(node, str) else _listing(node)


def openstack(guest: Guest, random_seed: bytes) -> Tree:
    """Return the folder ``openstack``: a folder a version, each with what that version knows."""
    documents = {
        "meta_data.json": _json(meta_data(guest, random_seed)),
        "vendor_data.json": _json({}),
        "network_data.json": _json(network_data(guest)),
        "vendor_data2.json": _json({"static": {}}),
    }
    if guest.server.spec.user_data is not None:
        documents["user_data"] = guest.server.spec.user_data
    return {
        version: {name: content for name, content in documents.items() if version == LATEST or version >= _SINCE[name]}
        for version in OPENSTACK_VERSIONS
    }


def meta_data(guest: Guest, random_seed: bytes) -> dict[str, Any]:
    """Return ``meta_data.json``."""
    server = guest.server
    keys = server.status.key_pairs
    return {
        "uuid": server.uid,
        "name": server.metadata.name,
        "hostname": server.metadata.name,
        "launch_index": 0,
        "availability_zone": guest.availability_zone,
        "project_id": server.metadata.namespace,
        "meta": dict(server.spec.metadata),
        "public_keys": {key.name: key.public_key for key in keys},
        "keys": [{"name": key.name, "type": "ssh", "data": key.public_key} for key in keys],
        "random_seed": base64.b64encode(random_seed).decode(),
        "devices": [],
        "files": [],
    }


def ec2(guest: Guest) -> Tree:
    """Return the folder of a version of EC2's layout."""
    result: dict[str, Tree | str] = {"meta-data": ec2_meta_data(guest)}
    if guest.server.spec.user_data is not None:
        result["user-data"] = guest.server.spec.user_data
    return result


def ec2_meta_data(guest: Guest) -> Tree:
    """Return the folder ``meta-data`` of EC2's layout."""
    server = guest.server
    name = server.metadata.name
    ipv4 = [allocation.address for nic in guest.nics for allocation in nic.port.spec.allocations]
    result: dict[str, Tree | str] = {
        "ami-id": _ec2_id("ami", server.status.image.uid if server.status.image else ""),
        "ami-launch-index": "0",
        "hostname": name,
        "instance-action": "none",
        "instance-id": _ec2_id("i", server.uid),
        "instance-type": server.spec.flavor,
        "local-hostname": name,
        "local-ipv4": next((address for address in ipv4 if not is_ipv6(address)), ""),
        "placement": {"availability-zone": guest.availability_zone},
        "public-hostname": name,
        "public-ipv4": "",
        "reservation-id": _ec2_id("r", server.uid),
    }
    if guest.nics:
        result["mac"] = guest.nics[0].port.spec.mac_address or ""
    if server.status.key_pairs:
        result["public-keys"] = {
            f"{number}={key.name}": {"openssh-key": key.public_key}
            for number, key in enumerate(server.status.key_pairs)
        }
    return result


def _child(folder: Tree, part: str) -> Tree | str | None:
    """Return what the folder has of that name. EC2 lists key 0 as ``0=its-name`` and serves it as ``0``."""
    if part in folder:
        return folder[part]
    return next((node for name, node in folder.items() if "=" in name and name.partition("=")[0] == part), None)


def _listing(folder: Tree) -> str:
    return "\n".join(name if isinstance(node, str) or "=" in name else f"{name}/" for name, node in folder.items())


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _ec2_id(prefix: str, uid: str) -> str:
    return f"{prefix}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"
