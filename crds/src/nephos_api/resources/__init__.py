"""The kinds of the group ``nephos.cloud``, one module each."""

from __future__ import annotations

from typing import Final

from nephos_api.metadata import Resource
from nephos_api.resources.flavor import Flavor
from nephos_api.resources.floating_ip import FloatingIP
from nephos_api.resources.host import Host
from nephos_api.resources.image import Image
from nephos_api.resources.key_pair import KeyPair
from nephos_api.resources.network import Network
from nephos_api.resources.port import Port
from nephos_api.resources.project import Project
from nephos_api.resources.router import Router
from nephos_api.resources.security_group import SecurityGroup
from nephos_api.resources.server import Server
from nephos_api.resources.server_action import ServerAction
from nephos_api.resources.server_group import ServerGroup
from nephos_api.resources.subnet import Subnet

KINDS: Final[tuple[type[Resource], ...]] = (
    Project,
    Flavor,
    Host,
    Image,
    KeyPair,
    Network,
    Subnet,
    Router,
    FloatingIP,
    SecurityGroup,
    Port,
    ServerGroup,
    Server,
    ServerAction,
)
"""Every kind, in the order in which a reader meets them."""

CLEANED_KINDS: Final[tuple[type[Resource], ...]] = (
    Project,
    Network,
    Subnet,
    Router,
    FloatingIP,
    SecurityGroup,
    Port,
    Server,
    Image,
)
"""Kinds whose objects get the finalizer ``nephos.cloud/cleanup`` at creation."""

__all__ = [
    "CLEANED_KINDS",
    "KINDS",
    "Flavor",
    "FloatingIP",
    "Host",
    "Image",
    "KeyPair",
    "Network",
    "Port",
    "Project",
    "Router",
    "SecurityGroup",
    "Server",
    "ServerAction",
    "ServerGroup",
    "Subnet",
]
