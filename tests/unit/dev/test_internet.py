"""What the outside of the local cloud knows of the cloud."""

from typing import Any

import pytest

from nephos_dev import install, internet
from nephos_dev.internet_server import greeting


def router(uid: str, own: list[str], prefixes: list[str]) -> dict[str, Any]:
    external = {"addresses": [{"address": address} for address in own]}
    return {"metadata": {"uid": uid}, "status": {"external": external, "legs": [{"cidr": cidr} for cidr in prefixes]}}


def test_ipv6_prefixes_are_sent_to_the_router_that_has_them() -> None:
    edge = router("a", ["203.0.113.10", "2001:db8:113::a"], ["10.10.0.0/24", "2001:db8:1::/64", "2001:db8:2::/64"])
    assert internet.routes_to([edge]) == {"2001:db8:1::/64": "2001:db8:113::a", "2001:db8:2::/64": "2001:db8:113::a"}


@pytest.mark.parametrize(
    "other",
    [
        {"metadata": {"uid": "b"}},
        {"metadata": {"uid": "b"}, "status": {"legs": [{"cidr": "2001:db8:9::/64"}]}},
        router("b", ["203.0.113.10"], ["2001:db8:9::/64"]),
        router("b", ["2001:db8:113::b"], ["2001:db8:1::/64"]),
    ],
    ids=["without status", "without an outside", "without an IPv6 address", "of a prefix that another has"],
)
def test_a_router_that_cannot_be_a_next_hop_adds_no_route(other: dict[str, Any]) -> None:
    edge = router("a", ["2001:db8:113::a"], ["2001:db8:1::/64"])
    assert internet.routes_to([other, edge]) == {"2001:db8:1::/64": "2001:db8:113::a"}


@pytest.mark.parametrize(
    ("client", "told"), [("::ffff:203.0.113.10", "203.0.113.10"), ("2001:db8:1::7", "2001:db8:1::7")]
)
def test_who_asks_is_told_as_whom_it_came(client: str, told: str) -> None:
    assert greeting(client) == f"hello from the internet, {told}\n"


def test_the_network_public_is_reached_by_the_router_of_the_outside() -> None:
    gateways = {document["spec"].get("gateway") for document in install.public_network()}
    assert {internet.GATEWAYS[0][0]} <= gateways
