"""Whether anything of a Server may still run on a Host."""

from __future__ import annotations

from nephos_api.conditions import ConditionType, is_true
from nephos_api.resources import Server
from nephos_operator.store import Store


def has_let_go(server: Server, store: Store) -> bool:
    """Tell whether nothing of the Server runs anywhere.

    True where it was never placed, where its host says so (condition Released), where a person says that the host is
    dead (spec.outOfService), and where the Host was deleted.
    """
    if server.status.host is None:
        return True
    if server.is_deleting and is_true(server.status.conditions, ConditionType.RELEASED):
        return True
    host = store.hosts.get(server.status.host)
    return host is None or host.spec.out_of_service
