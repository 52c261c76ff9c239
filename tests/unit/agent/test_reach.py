"""Which networks and routers a host needs: over any number of routers, and never the world behind their outside."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.watches.reach import Interfaces, Reach, Reference, reach


def ref(uid: str) -> Reference:
    return Reference("demo", uid, uid)


def reached(
    local: str, gateways: str = "", *, legs: Mapping[str, str], outside: Mapping[str, str] | None = None
) -> Reach:
    """Return the reach where each character of ``legs[router]`` is a network."""

    def routers_of(network: str) -> list[Reference]:
        return [ref(router) for router, networks in legs.items() if network in networks]

    def interfaces_of(router: str) -> Interfaces:
        external = (outside or {}).get(router)
        return Interfaces(frozenset(map(ref, legs.get(router, ""))), ref(external) if external else None)

    return reach(map(ref, local), map(ref, gateways), routers_of, interfaces_of)


@pytest.mark.parametrize(
    ("local", "gateways", "legs", "networks", "routers"),
    [
        ("", "", {"1": "ab"}, "", ""),
        ("a", "", {}, "a", ""),
        ("a", "", {"1": "ab"}, "ab", "1"),
        ("a", "", {"1": "ab", "2": "bc", "3": "cd"}, "abcd", "123"),
        ("a", "", {"1": "ab", "2": "cd"}, "ab", "1"),
        ("", "2", {"1": "ab", "2": "bc"}, "abc", "12"),
        ("", "2", {"1": "ab", "2": ""}, "", "2"),
        ("ad", "", {"1": "ab", "2": "ba"}, "abd", "12"),
    ],
)
def test_what_is_needed(local: str, gateways: str, legs: dict[str, str], networks: str, routers: str) -> None:
    found = reached(local, gateways, legs=legs)
    assert set(found.networks) == set(networks)
    assert set(found.routers) == set(routers)


def test_an_outside_is_carried_and_joins_nobody() -> None:
    found = reached("a", legs={"1": "a", "2": "b"}, outside={"1": "x", "2": "x"})
    assert set(found.networks) == {"a", "x"}
    assert set(found.routers) == {"1"}
    assert found.joined_with("a") == found.joined_with("x") == frozenset()
    assert found.routers_at("x") == {"1"}


def test_networks_are_joined_over_several_routers() -> None:
    found = reached("ad", legs={"1": "ab", "2": "bc"})
    assert {network: found.joined_with(network) for network in "abcd"} == {
        "a": {"b", "c"},
        "b": {"a", "c"},
        "c": {"a", "b"},
        "d": frozenset(),
    }


@given(
    legs=st.dictionaries(st.sampled_from("1234567"), st.text("abcdefgh", max_size=4), max_size=7),
    local=st.text("abcdefgh", max_size=3),
    gateways=st.text("1234567", max_size=2),
)
def test_it_is_the_least_that_is_closed(legs: dict[str, str], local: str, gateways: str) -> None:
    networks, routers = set(local), set(gateways)
    while True:  # by the words of the definition, until nothing is added
        more_routers = routers | {router for router, on in legs.items() if networks & set(on)}
        more_networks = networks | {network for router in more_routers for network in legs.get(router, "")}
        if (more_networks, more_routers) == (networks, routers):
            break
        networks, routers = more_networks, more_routers
    found = reached(local, gateways, legs=legs)
    assert (set(found.networks), set(found.routers)) == (networks, routers)
    for one in networks:
        assert one not in found.joined_with(one)
        for other in found.joined_with(one):
            assert one in found.joined_with(other)
