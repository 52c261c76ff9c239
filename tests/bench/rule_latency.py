"""How long a change of a large security group takes to reach the kernel of a real host, through API, agent and driver.

The group's members are Servers on simulated hosts, and one on a real host. What that one's kernel says counts: the
commit of its rule set, and pings from the outside through its floating IP that come out at its tap, or do so no more.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bench.kernel_watch import Arrivals, Commit, Commits, Element, pinging, watching_commits
from nephos_agent.network.names import tap_name
from nephos_dev.cloud import Cloud, Plan
from nephos_dev.scale import create_servers, simulated_hosts
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

_GROUP = "default"
_WATCHED = "watched"
_PING = {"direction": "Ingress", "protocol": "ICMP", "remoteCIDR": "0.0.0.0/0"}
_PING_EVERY_S = 0.002
_TIMEOUT_S = 30.0
_SILENCE_S = 0.5
"""A flow without a packet for so long is cut, and a rule set without a commit at rest."""


@dataclass(frozen=True)
class Change:
    """One change, and what it cost the real host."""

    enforced_ms: float
    """From the user's request to the first packet that passes, or to the last one that did."""
    transactions: int
    elements: int


@dataclass(frozen=True)
class Town:
    """A cloud whose default group has many members on simulated hosts, and the Server ``watched`` on a real one."""

    cloud: Cloud
    tenant: Tenant
    members: int

    @cached_property
    def namespace(self) -> Path:
        """The tenant namespace of the real host."""
        init = self.cloud.process(self.cloud.hosts[0].name).pid
        return Path(f"/proc/{init}/root/run/netns/nephos")

    @cached_property
    def tap(self) -> str:
        """The tap of ``watched``."""
        port = self.tenant.get("port", f"{_WATCHED}-net0")
        assert port is not None
        return tap_name(port["metadata"]["uid"])

    @property
    def agent(self) -> int:
        """Process ID of the real host's agent."""
        return self.cloud.process(f"{self.cloud.hosts[0].name}/agent").pid


@contextmanager
def town(cloud: Cloud, members: int, hosts: int) -> Iterator[Town]:
    """Bring the cloud up with that many members on so many simulated hosts."""
    cloud.up(Plan(hosts=1))
    tenant = Tenant(cloud.cluster, "town")
    tenant.create(instances=-1, cores=-1, ramMiB=-1, ports=-1)
    tenant.apply(
        *network_manifests("net-0", "10.80.0.0/16"),
        manifest("Router", "edge", externalNetwork="public", subnets=["net-0-v4"]),
        server_manifest(_WATCHED, "net-0"),
        manifest("FloatingIP", _WATCHED, externalNetwork="public", server=_WATCHED),
    )
    tenant.wait_phase(_WATCHED, "Active")  # before there is any other host
    tenant.wait_phase(_WATCHED, "Active", kind="floatingip")
    cloud.kubectl("patch", "host", cloud.hosts[0].name, "--type=merge", '--patch={"spec": {"enabled": false}}')
    with simulated_hosts(cloud, hosts):
        create_servers(cloud, tenant, 0, members - 1, networks=1)
        yield Town(cloud, tenant, members)


@dataclass(frozen=True)
class Measures:
    """Changes of each kind, in the order in which they were made."""

    added: list[Change]
    removed: list[Change]
    joined: list[Change]


def measure(town: Town, rounds: int) -> Measures:
    """Add a rule and take it away, and have a member join, so many times."""
    floating_ip = town.tenant.get("floatingip", _WATCHED)
    assert floating_ip is not None
    outside = Path("/run/netns") / town.cloud.layout.internet_netns
    address = floating_ip["status"]["address"]
    measures = Measures([], [], [])
    with (
        watching_commits(town.namespace) as commits,
        pinging(outside, address, town.namespace, town.tap, every_s=_PING_EVERY_S) as pings,
    ):
        commits.wait_quiet(2.0, timeout_s=60)
        user = _User(town)
        for number in range(rounds):
            measures.added.append(_add_rule(user, commits, pings))
            measures.removed.append(_remove_rule(user, commits, pings))
            measures.joined.append(_join(user, commits, f"many-{town.members + number}"))
    return measures


class _User:
    """Writes to the API on a connection that is open."""

    def __init__(self, town: Town) -> None:
        self.tenant = town.tenant
        group = town.tenant.get("securitygroup", _GROUP)
        assert group is not None
        self._rules = group["spec"]["rules"]
        """What the group has anyway: members reach each other."""
        self._client = town.cloud.cluster.client()
        self._namespace = f"{self._client.url}/apis/nephos.cloud/v1alpha1/namespaces/{town.tenant.name}"

    def set_rules(self, *more: dict[str, Any]) -> float:
        """Let the group have these rules beside its own; return when that was asked."""
        document = json.dumps({"spec": {"rules": [*self._rules, *more]}})
        headers = {"Content-Type": "application/merge-patch+json"}
        begun = time.monotonic()
        answer = self._client.session.patch(
            f"{self._namespace}/securitygroups/{_GROUP}", data=document, headers=headers, timeout=_TIMEOUT_S
        )
        self._client.raise_for_status(answer)
        return begun

    def create_server(self, name: str) -> float:
        """Make a Server; return when that was asked."""
        begun = time.monotonic()
        answer = self._client.session.post(
            f"{self._namespace}/servers", json=server_manifest(name, "net-0"), timeout=_TIMEOUT_S
        )
        self._client.raise_for_status(answer)
        return begun


def _add_rule(user: _User, commits: Commits, pings: Arrivals) -> Change:
    begun = user.set_rules(_PING)
    commits.wait(begun, _changes("ingress_"), timeout_s=_TIMEOUT_S)

    def passed() -> float:
        first = pings.first_since(begun)
        if first is None:
            raise NotYet("no ping came through")
        return first

    first = wait_for(passed, what="a ping that the new rule allows", timeout_s=_TIMEOUT_S, most_pause_s=0.02)
    return _change(begun, first, commits)


def _remove_rule(user: _User, commits: Commits, pings: Arrivals) -> Change:
    begun = user.set_rules()
    commits.wait(begun, _changes("ingress_"), timeout_s=_TIMEOUT_S)

    def silent() -> float:
        if time.monotonic() - pings.last < _SILENCE_S:
            raise NotYet("pings still come through")
        return pings.last

    last = wait_for(silent, what="the flow that no rule allows is cut", timeout_s=_TIMEOUT_S, most_pause_s=0.05)
    return _change(begun, last, commits)


def _join(user: _User, commits: Commits, name: str) -> Change:
    """Have a Server come; it is enforced with the commit, for the rule that names the group is there already."""
    begun = user.create_server(name)
    created = user.tenant.wait(
        "server", name, lambda found: "" if found.get("status", {}).get("addresses") else "it has no address"
    )
    address = ip_address(created["status"]["addresses"][0]["address"]).packed
    is_of_member = _changes("member_", address)
    commit = commits.wait(begun, is_of_member, timeout_s=_TIMEOUT_S)
    change = _change(begun, commit.moment, commits)
    user.tenant.wait_phase(name, "Active")
    leaving = time.monotonic()
    user.tenant.delete("server", name)
    commits.wait(leaving, is_of_member, timeout_s=_TIMEOUT_S)
    commits.wait_quiet(_SILENCE_S, timeout_s=_TIMEOUT_S)
    return change


def _changes(prefix: str, content: bytes = b"") -> Callable[[Commit], bool]:
    """Return whether a commit changes an element of a set whose name begins so."""

    def is_wanted(element: Element) -> bool:
        return element.set.startswith(prefix) and content in element.content

    return lambda commit: any(map(is_wanted, commit.elements))


def _change(begun: float, enforced: float, commits: Commits) -> Change:
    commits.wait_quiet(_SILENCE_S, timeout_s=_TIMEOUT_S)
    seen = [each for each in commits.since(begun) if each.elements]
    return Change(
        enforced_ms=1000 * (enforced - begun),
        transactions=len(seen),
        elements=sum(len(each.elements) for each in seen),
    )
