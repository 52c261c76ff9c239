from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nephos_api.resources import Host
from nephos_api.resources.network import ExternalSegment, SegmentType
from nephos_operator.gateways import choose, unfitness

FLAT = ExternalSegment(physical_network="ext")
VLAN = ExternalSegment(physical_network="ext", type=SegmentType.VLAN, vlan_id=7)


def host(
    name: str,
    *,
    phase: str | None = "Up",
    enabled: bool = True,
    dead: bool = False,
    wire: bool = True,
    vlan: bool = False,
    deleting: bool = False,
) -> Host:
    status = {"phase": phase, "address": "192.0.2.1", "physicalNetworks": ["ext"] if wire else [], "hasVLAN": vlan}
    metadata = {"name": name, "uid": name} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {})
    return Host.model_validate(
        {"metadata": metadata, "spec": {"enabled": enabled, "outOfService": dead}, "status": status}
    )


HOSTS = st.builds(
    host,
    name=st.sampled_from([f"h{number}" for number in range(6)]),
    phase=st.sampled_from(["Up", "Down", "Disabled", None]),
    enabled=st.booleans(),
    dead=st.booleans(),
    wire=st.booleans(),
    vlan=st.booleans(),
    deleting=st.booleans(),
)
LOADS = st.dictionaries(st.sampled_from([f"h{number}" for number in range(6)]), st.integers(0, 9))
MANY = st.lists(HOSTS, unique_by=lambda found: found.metadata.name)


@given(MANY, LOADS, st.sampled_from([FLAT, VLAN]))
def test_a_fresh_gateway_is_the_least_loaded_of_those_that_are_fit(
    hosts: list[Host], loads: dict[str, int], segment: ExternalSegment
) -> None:
    chosen = choose(None, hosts, segment, lambda name: loads.get(name, 0))
    fit = [found for found in hosts if unfitness(found, segment) is None]
    if not fit:
        assert chosen is None
        return
    assert chosen in fit
    assert loads.get(chosen.metadata.name, 0) == min(loads.get(found.metadata.name, 0) for found in fit)


@given(MANY, st.integers(0, 5), LOADS)
def test_a_gateway_stays_while_it_is_fit_and_leaves_as_soon_as_another_is(
    hosts: list[Host], number: int, loads: dict[str, int]
) -> None:
    current = next((found for found in hosts if found.metadata.name == f"h{number}"), None)
    chosen = choose(current, hosts, FLAT, lambda name: loads.get(name, 0))
    if current is not None and unfitness(current, FLAT) is None:
        assert chosen is current
    elif any(unfitness(found, FLAT) is None for found in hosts):
        assert chosen is not None
        assert unfitness(chosen, FLAT) is None
    elif chosen is not None:
        assert chosen is current
        assert not current.spec.out_of_service


def test_why_a_host_is_unfit_is_said() -> None:
    reasons = {
        "is gone": None,
        "is out of service": host("a", dead=True),
        "is Down": host("a", phase="Down"),
        "is Disabled": host("a", phase="Disabled", enabled=False),
        "does not reach physical network ext": host("a", wire=False),
    }
    assert {said: unfitness(found, FLAT) for said, found in reasons.items()} == {said: said for said in reasons}
    assert unfitness(host("a"), FLAT) is None
    assert unfitness(host("a"), VLAN) == "does not reach physical network ext"
    assert unfitness(host("a", vlan=True), VLAN) is None
