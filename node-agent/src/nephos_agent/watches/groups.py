"""The security groups that Ports of this host use."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

from nephos_agent.host_network import remote_groups
from nephos_agent.host_security_group import host_security_group
from nephos_agent.network.model import HostSecurityGroup
from nephos_agent.watches.reach import Reference
from nephos_agent.watches.watch import Watch
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import Port, SecurityGroup


class GroupWatch(Watch):
    """The SecurityGroup, by its name; ``changed`` is called when its rules are others than before."""

    def __init__(
        self, kubernetes: Kubernetes, reference: Reference, changed: Callable[[], None], group: asyncio.TaskGroup
    ) -> None:
        by_name = Selection(namespace=reference.namespace, field_selector=f"metadata.name={reference.name}")
        self._uid = reference.uid
        self._changed = changed
        self.group: HostSecurityGroup | None = None
        """The group as last seen, even where the API lost it since: Ports that name it are there."""
        self.remote_groups: frozenset[str] = frozenset()
        """UIDs of the groups that its rules name."""
        informer = Informer(SecurityGroup, by_name, kubernetes, self._on_group)
        super().__init__(group, changed, informer)

    def _on_group(self, _old: SecurityGroup | None, new: SecurityGroup | None) -> None:
        if new is None or new.uid != self._uid:
            return
        seen = host_security_group(new)
        if seen != self.group:
            self.group, self.remote_groups = seen, remote_groups((seen,))
            self._changed()


class Groups:
    """A watch for each group while a Port here has it; ``changed`` is called with the UIDs of the Ports concerned."""

    def __init__(
        self, kubernetes: Kubernetes, changed: Callable[[frozenset[str]], None], group: asyncio.TaskGroup
    ) -> None:
        self._kubernetes = kubernetes
        self._changed = changed
        self._group = group
        self._users: defaultdict[str, set[str]] = defaultdict(set)
        self.watches: dict[str, GroupWatch] = {}
        """By the group's UID."""

    def follow(self, old: Port | None, new: Port | None) -> None:
        """A Port here came, changed or went."""
        before, now = {*_references(old)}, {*_references(new)}
        port = old or new
        if port is None:
            return
        for reference in now - before:
            self._users[reference.uid].add(port.uid)
            if reference.uid not in self.watches:
                self.watches[reference.uid] = self._watch(reference)
        for reference in before - now:
            self._leave(reference.uid, port.uid)

    def of(self, ports: Iterable[Port]) -> tuple[GroupWatch, ...]:
        """Return the watches of the Ports' groups."""
        uids = {reference.uid for port in ports for reference in _references(port)}
        return tuple(self.watches[uid] for uid in uids if uid in self.watches)

    def _watch(self, reference: Reference) -> GroupWatch:
        uid = reference.uid
        return GroupWatch(self._kubernetes, reference, lambda: self._changed(frozenset(self._users[uid])), self._group)

    def _leave(self, uid: str, port_uid: str) -> None:
        users = self._users[uid]
        users.discard(port_uid)
        if not users:
            del self._users[uid]
            self.watches.pop(uid).stop()


def _references(port: Port | None) -> Iterable[Reference]:
    groups = port.spec.security_group_references if port else ()
    return (Reference(each.namespace, each.name, each.uid) for each in groups)
