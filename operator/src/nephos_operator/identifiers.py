"""VXLAN network identifiers of the cloud: one a Network, one a Router's transit, none given twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nephos_api.resources import Network, Router
from nephos_operator import vni
from nephos_operator.claims import identifier_claimants
from nephos_operator.context import Context
from nephos_operator.precedence import winner


def identifier(resource: Network | Router, held: int | None, context: Context) -> int | None:
    """Return the object's VNI: the one that it holds, if no other has a better claim to it, else a free one.

    None where all are taken. Until it is written, ``context.vnis_under_way`` keeps it for the object.
    """
    if held is not None and winner(identifier_claimants(held, context.store)).uid == resource.uid:
        return held
    return vni.choose(resource.uid, lambda candidate: _is_taken(candidate, resource.uid, context))


@contextmanager
def writing(held: int | None, uid: str, context: Context) -> Iterator[None]:
    """While the object is written with that VNI, nobody else is given it; then the store tells of it."""
    if held is not None:
        context.vnis_under_way[held] = uid
    try:
        yield
    finally:
        if held is not None:
            context.vnis_under_way.pop(held, None)


def _is_taken(candidate: int, uid: str, context: Context) -> bool:
    under_way = context.vnis_under_way.get(candidate, uid) != uid
    return under_way or any(other.uid != uid for other in identifier_claimants(candidate, context.store))
