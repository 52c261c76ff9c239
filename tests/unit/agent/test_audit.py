"""What a host has programmed is compared with what the objects demand of it, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from nephos_agent.audit import audit, demand
from nephos_agent.network.desired import HostContext
from nephos_agent.network.facts import Fact, GuardElement, GuardSet, Neighbour, Tap, TunnelEntry
from nephos_agent.network.observed import Observed
from nephos_agent.network.router.facts import NatElement, Route
from nephos_agent.path.model import Objects
from nephos_agent.path.report import Report, dump, load
from nephos_api.resources.port import PortPhase

from .path.small_cloud import HOSTS, ROUTER, A, B, C, D, cloud, floating_ip, group

ONE = HostContext("h1", HOSTS["h1"], "nephos", "/run/nephos/network")


def running(objects: Objects) -> Objects:
    """The cloud with all Ports Active, and Networks that list the Router, as operator and agents leave it."""
    ports = [
        port.model_copy(update={"status": port.status.model_copy(update={"phase": PortPhase.ACTIVE})})
        for port in objects.ports
    ]
    listed = {"namespace": "demo", "name": "edge", "uid": ROUTER}
    joined = {leg.network_uid for router in objects.routers for leg in router.status.legs}
    networks = [
        type(network).model_validate(
            network.model_dump(by_alias=True)
            | {
                "status": network.status.model_dump(by_alias=True)
                | {"routers": [listed] if network.uid in joined else []}
            }
        )
        for network in objects.networks
    ]
    return replace(objects, networks=tuple(networks), ports=tuple(ports))


CLOUD = running(cloud())


def found(objects: Objects = CLOUD, context: HostContext = ONE) -> Report:
    return load(dump(Report(context.host, demand(objects, context))))


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_has_what_the_objects_demand_differs_in_nothing(host: str) -> None:
    context = HostContext(host, HOSTS[host], "nephos", "/run/nephos/network")
    report = found(context=context)
    assert report.observed.networks
    assert report.observed.routers
    assert audit(CLOUD, report, context) == ()


def test_a_host_without_ports_and_routers_has_nothing() -> None:
    away = HostContext("h3", "192.0.2.3", "nephos", "/run/nephos/network")
    assert found(context=away) == Report("h3")


def is_element(name: str) -> Callable[[Any], bool]:
    return lambda fact: isinstance(fact, GuardElement) and fact.set.startswith(name)


def of_kind(kind: type[Any]) -> Callable[[Any], bool]:
    return lambda fact: isinstance(fact, kind)


@pytest.mark.parametrize(
    "which",
    [
        *(is_element(name) for name in ("ingress_", "member_", "device_zone", "policies", "port_mac", "role")),
        *(of_kind(kind) for kind in (Tap, TunnelEntry, Neighbour, NatElement, Route)),
    ],
)
def test_every_fact_that_is_lost_is_named(which: Callable[[Any], bool]) -> None:
    report = found()
    lost: list[Fact] = []

    def without(facts: Iterable[Any]) -> frozenset[Any]:
        one = next((fact for fact in sorted(facts, key=repr) if which(fact)), None)
        lost.extend([one] if one else [])
        return frozenset(facts) - {one}

    routers = {uid: without(inside) for uid, inside in report.observed.routers.items()}
    less = replace(report, observed=Observed(without(report.observed.networks), routers))
    assert lost
    told = audit(CLOUD, less, ONE)
    assert len(told) == len(lost)
    for fact in lost:
        assert any(sentence.endswith(f"lacks {fact}") for sentence in told), told


@pytest.mark.parametrize(
    "before",
    [
        running(cloud(groups=(group("default", {"direction": "Ingress"}), group("web")))),
        running(cloud(A, B, C)),
        running(cloud(A, B, D)),
        running(cloud(floating_ips=(floating_ip(A), floating_ip(D, "203.0.113.78")))),
    ],
    ids=["rules", "a port here", "a member elsewhere", "a floating address"],
)
def test_what_is_left_of_former_objects_or_not_made_yet_is_told(before: Objects) -> None:
    assert audit(CLOUD, found(before), ONE)
    assert audit(before, found(), ONE)


def test_a_stale_fact_is_shown_beside_the_right_one() -> None:
    report = found()
    (entry,) = (
        fact for fact in report.observed.networks if isinstance(fact, TunnelEntry) and fact.mac == B.spec.mac_address
    )
    stale = replace(entry, destination="192.0.2.9")
    other = replace(report, observed=replace(report.observed, networks=report.observed.networks - {entry} | {stale}))
    assert audit(CLOUD, other, ONE) == (f"h1: has {stale} instead of {entry}",)


def test_what_nothing_demands_is_told() -> None:
    report = found()
    element = GuardElement("nbr0", GuardSet.MEMBER_IPV4, ("10.0.0.9", "policy"))
    more = replace(report, observed=replace(report.observed, networks=report.observed.networks | {element}))
    assert audit(CLOUD, more, ONE) == (f"h1: has {element}, which nothing demands",)
    gone = replace(CLOUD, routers=(), networks=tuple(running(cloud(routers=())).networks))
    assert any(sentence.startswith(f"h1: router {ROUTER} has ") for sentence in audit(gone, report, ONE))
