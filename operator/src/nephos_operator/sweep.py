"""A fresh look at everything: what is there is taken in, what is gone is forgotten."""

from __future__ import annotations

from typing import Any, Final

from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.metadata import PROJECT_LABEL, Resource
from nephos_operator.kinds import Namespace
from nephos_operator.store import Store
from nephos_operator.table import Table, version

SELECTIONS: Final = {Namespace.info.kind: Selection(label_selector=PROJECT_LABEL)}
"""Kinds of which only some are read."""


class WentBackError(Exception):
    """The API server tells an older version than it told before: etcd was restored from a backup.

    Nothing that is held can be compared with what is there; the process ends, and the next one begins anew.
    """


async def sweep(kube: Kubernetes, store: Store) -> None:
    """List every kind, page by page, and bring the store in step; raises what the list raises, and WentBackError."""
    for table in store.tables.values():
        await _sweep_kind(kube, store, table)


async def _sweep_kind(kube: Kubernetes, store: Store, table: Table[Any]) -> None:
    kind: type[Resource] = table.kind
    newest = max(map(version, table), default=0)
    listing = await kube.list(kind, SELECTIONS.get(kind.info.kind, Selection()))
    as_of = int(listing.resource_version)
    if as_of < newest:
        raise WentBackError(f"the API server is at version {as_of}, after it told of {newest}: was etcd restored?")
    there = {item.key: item.uid for item in listing.items}
    for item in listing.items:
        store.put(item)
    for held in table:
        if held.key in listing.unreadable or there.get(held.key) == held.uid:
            continue
        if version(held) <= as_of:
            store.remove(held.key, held.uid, as_of)
