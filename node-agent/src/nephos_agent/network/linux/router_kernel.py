"""The namespaces of routers on this host: made, claimed, changed and removed. Runs in the kernel thread and blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nephos_agent.network.facts import GuardElement
from nephos_agent.network.linux import announce as linux_announce
from nephos_agent.network.linux import namespaces
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.link_reader import Link
from nephos_agent.network.linux.router_change import SPACE_KIND, Change
from nephos_agent.network.linux.router_space import Space, opened
from nephos_agent.network.names import Mark, read_mark
from nephos_agent.network.router import nat as router_nat
from nephos_agent.network.router.facts import Leg, RouterSpace
from nephos_agent.network.router.names import router_names
from nephos_agent.network.router.plan import RouterPlan


class RouterKernel:
    """The namespaces of routers, and their ends in the tenant namespace. Owned by the thread that owns ``Kernel``."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.settings = kernel.settings
        self._commits: dict[str, int] = {}
        self._others: dict[str, int] = {}
        """How many transactions were not ours, from some number on, when a router's rules were loaded."""

    def path(self, router_uid: str) -> Path:
        """Return the path of the router's namespace."""
        return self.settings.netns_dir / router_names(router_uid, self.settings.namespace_prefix).namespace

    def mark(self, kind: str, uid: str) -> str:
        """Return the alias of a device of that kind."""
        return str(Mark(self.settings.cloud_id, kind, uid))

    def prepare(self, router_uid: str) -> None:
        """Make the namespace where it is missing, claim it, assert its sysctls and load its rules where that is not so.

        Raises ``PermanentFault`` where a namespace of that name is somebody else's.
        """
        namespaces.create(self.path(router_uid))
        with self._opened(router_uid) as space:
            loopback = space.links.claim("lo", self.mark(SPACE_KIND, router_uid))
            if not loopback.is_up:
                space.links.set(loopback.index, state="up")
            space.assert_sysctls(link.name for link in space.links.all() if self._is_own(link))
            others = space.generation.number() - self.commits(router_uid)
            if others != self._others.get(router_uid):
                space.commit(router_nat.skeleton())
                self._others[router_uid] = others

    def commits(self, router_uid: str) -> int:
        """Return how many transactions of ours changed the router's rule set; the kernel announces each one once."""
        return self._commits.get(router_uid, 0)

    def owner(self, path: Path) -> str | None:
        """Return the UID of this cloud's router whose namespace it is, or None."""
        if not namespaces.is_namespace(path):
            return None
        with opened(path) as space:
            loopback = space.links.get("lo")
        mark = read_mark(loopback.alias if loopback else None)
        return mark.uid if mark and mark.cloud_id == self.settings.cloud_id and mark.kind == SPACE_KIND else None

    def carry_out(self, router_uid: str, changes: RouterPlan) -> None:
        """Make the changes, those of the advertiser's process apart."""
        if changes.made(RouterSpace):
            # Where its namespace is there already, somebody may have died before it was claimed.
            self.prepare(router_uid)
        with self._opened(router_uid) as space:
            change = Change(self._kernel, router_uid, space)
            for step in changes.steps:
                change.carry_out(step)
            given_up = changes.given_up()
            if given_up:
                space.flows.cut(given_up)

    def announce(self, router_uid: str, device: str, mac: str, addresses: Iterable[str]) -> None:
        """Tell the external network that the addresses are here, whoever said so before. Raises ``OSError``."""
        with self._opened(router_uid) as space:
            space.take_back()
            space.run(lambda: linux_announce.announce(device, mac, addresses))

    def remove(self, router_uid: str, legs: Iterable[Leg], elements: Iterable[GuardElement]) -> None:
        """Remove all of a router; what is in its namespace goes with it."""
        path = self.path(router_uid)
        for leg in legs:
            self._kernel.tenants.delete(leg.device)
        guards = tuple(elements)
        if guards:
            self._kernel.tables.remove_elements(guards)
        if self.owner(path) == router_uid:
            with opened(path) as space:
                for link in space.links.all():
                    if link.kind in ("veth", "vxlan"):
                        space.links.delete(link.name)
            namespaces.delete(path)
        self._commits.pop(router_uid, None)
        self._others.pop(router_uid, None)

    @contextmanager
    def _opened(self, router_uid: str) -> Iterator[Space]:
        """Open the router's namespace to change it."""
        with opened(self.path(router_uid)) as space:
            try:
                yield space
            finally:
                self._commits[router_uid] = self.commits(router_uid) + space.commits

    def _is_own(self, link: Link) -> bool:
        mark = read_mark(link.alias)
        return mark is not None and mark.cloud_id == self.settings.cloud_id and mark.kind != SPACE_KIND
