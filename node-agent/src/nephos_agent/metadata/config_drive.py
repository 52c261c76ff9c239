"""The metadata as files of a config drive."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from nephos_agent.metadata.documents import (
    EC2_VERSIONS,
    RANDOM_SEED_BYTES,
    Tree,
    ec2_meta_data,
    openstack,
)
from nephos_agent.metadata.source import Guest


def files(guest: Guest, random_seed: bytes | None = None) -> dict[str, bytes]:
    """Return the content of the config drive by path; the seed is drawn afresh where none is given."""
    seed = os.urandom(RANDOM_SEED_BYTES) if random_seed is None else random_seed
    root: dict[str, Tree | str] = {"openstack": openstack(guest, seed)}
    ec2: dict[str, Tree | str] = {"meta-data.json": json.dumps(_unlabelled(ec2_meta_data(guest)), sort_keys=True)}
    if guest.server.spec.user_data is not None:
        ec2["user-data"] = guest.server.spec.user_data
    root["ec2"] = dict.fromkeys(EC2_VERSIONS, ec2)
    return {path: content.encode() for path, content in _flattened(root, "")}


def _unlabelled(folder: Tree) -> Tree:
    """Return the folder with keys by their number alone; their names are for listings."""
    return {
        name.partition("=")[0]: node if isinstance(node, str) else _unlabelled(node) for name, node in folder.items()
    }


def _flattened(folder: Tree, prefix: str) -> Iterator[tuple[str, str]]:
    for name, node in folder.items():
        if isinstance(node, str):
            yield prefix + name, node
        else:
            yield from _flattened(node, f"{prefix}{name}/")
