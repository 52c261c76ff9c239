"""Who was promised what, where: the claims of Servers on Hosts, with sums that are kept as claims come and go.

A claim is in a Server's status (its host and its flavor), or assumed: decided here, the write still under way. An
assumed claim counts as much as a written one, so that of two decisions the second knows of the first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nephos_api.conditions import ConditionType, is_true
from nephos_api.resources import Server
from nephos_api.resources.server import ServerPhase

Group = tuple[str | None, str]
"""A ServerGroup's namespace and name."""


@dataclass(frozen=True)
class Claim:
    """What one Server was promised."""

    namespace: str
    host: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    group: Group | None = None
    is_building: bool = True


@dataclass
class Sums:
    """What all the claims on one host, or of one namespace, come to."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0
    servers: int = 0
    building: int = 0
    groups: Counter[Group] = field(default_factory=Counter)

    def add(self, claim: Claim, sign: int) -> None:
        """Count the claim in (sign 1) or out (sign −1)."""
        self.vcpus += sign * claim.vcpus
        self.memory_mib += sign * claim.memory_mib
        self.disk_gib += sign * claim.disk_gib
        self.servers += sign
        self.building += sign * claim.is_building
        if claim.group:
            self.groups[claim.group] += sign
            if not self.groups[claim.group]:
                del self.groups[claim.group]


class Ledger:
    """The claims of all Servers, by UID, and their sums by host and by namespace."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._written: dict[str, Claim] = {}
        self._assumed: set[str] = set()
        self._hosts: dict[str, Sums] = {}
        self._namespaces: dict[str, Sums] = {}

    def on_host(self, host: str) -> Sums:
        """Return what is promised on the host, always the same object; not to be changed by the caller."""
        return self._hosts.setdefault(host, Sums())

    def in_namespace(self, namespace: str) -> Sums:
        """Return what the placed Servers of the namespace were promised; not to be changed by the caller."""
        return self._namespaces.setdefault(namespace, Sums())

    def claim_of(self, uid: str) -> Claim | None:
        """Return the claim of the Server of that UID, or None."""
        return self._claims.get(uid)

    def group_hosts(self, group: Group, without: str) -> Counter[str]:
        """Return how many members of the group each host has, the Server of the UID ``without`` left out."""
        hosts = Counter({host: sums.groups[group] for host, sums in self._hosts.items() if group in sums.groups})
        own = self._claims.get(without)
        if own and own.group == group:
            hosts[own.host] -= 1
        return +hosts

    def assume(self, uid: str, claim: Claim) -> None:
        """Take in a claim that is decided and not yet written; it replaces the one that the Server had."""
        self._assumed.add(uid)
        self._set(uid, claim)

    def abandon(self, uid: str) -> None:
        """Forget an assumed claim that will not be written."""
        if uid in self._assumed:
            self._assumed.discard(uid)
            self._set(uid, self._written.get(uid))

    def abandon_all(self) -> None:
        """Forget all assumed claims."""
        for uid in tuple(self._assumed):
            self.abandon(uid)

    def observe(self, server: Server) -> None:
        """Take in the claim that the Server's status says; an assumed one stays until it says the same."""
        written = written_claim(server)
        if written:
            self._written[server.uid] = written
        else:
            self._written.pop(server.uid, None)
        if server.uid in self._assumed and not server.is_deleting:
            assumed = self._claims[server.uid]
            if written is None or written.host != assumed.host:
                return
        self._assumed.discard(server.uid)
        self._set(server.uid, written)

    def forget(self, uid: str) -> None:
        """Forget the Server of that UID."""
        self._written.pop(uid, None)
        self._assumed.discard(uid)
        self._set(uid, None)

    def _set(self, uid: str, claim: Claim | None) -> None:
        old = self._claims.pop(uid, None)
        if old:
            self._count(old, -1)
        if claim:
            self._claims[uid] = claim
            self._count(claim, 1)

    def _count(self, claim: Claim, sign: int) -> None:
        self.on_host(claim.host).add(claim, sign)
        self.in_namespace(claim.namespace).add(claim, sign)


def written_claim(server: Server) -> Claim | None:
    """Return the claim that the Server's status says; None where it is unplaced, or its host has let go of it."""
    status = server.status
    if status.host is None or status.flavor is None:
        return None
    if server.is_deleting and is_true(status.conditions, ConditionType.RELEASED):
        return None
    return Claim(
        namespace=server.metadata.namespace or "",
        host=status.host,
        vcpus=status.flavor.vcpus,
        memory_mib=status.flavor.memory_mib,
        disk_gib=status.flavor.disk_gib,
        group=(server.metadata.namespace, server.spec.server_group) if server.spec.server_group else None,
        is_building=status.phase is ServerPhase.BUILD,
    )
