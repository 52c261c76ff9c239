"""What a cloud at rest owes: each host carries what its Ports need, once, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from nephos_api.identity import device_name
from nephos_dev.network_invariants import EVERYBODY, Naming, NetworkObjects, NetworkPicture, violations
from nephos_dev.network_picture import devices_of, first

NAMING = Naming(tap="tap", bridge="nbr", router="nephos-r", leg="nrl", tunnel="nvx")
ROUTER = device_name("nephos-r", "router")
BRIDGES = {device_name("nbr", uid) for uid in ("red", "blue", "public")}
TAP, TUNNEL = device_name("tap", "port"), device_name("nvx", "red")
MAC = "02:00:00:00:00:05"
SAID = NetworkObjects(
    servers=({"metadata": {"uid": "server", "name": "web"}, "status": {"phase": "Active", "host": "h1"}},),
    ports=(
        {
            "metadata": {"uid": "port"},
            "spec": {
                "host": "h1",
                "networkUID": "red",
                "hostAddress": "192.0.2.1",
                "macAddress": MAC,
                "serverUID": "server",
                "allocations": [{"subnetUID": "red-v4", "address": "10.0.0.5"}],
            },
        },
    ),
    networks=({"status": {"vni": 7}}, {"status": {"vni": 8}}, {"status": {}}),
    routers=(
        {
            "metadata": {"uid": "router"},
            "status": {
                "transitVNI": 9,
                "gatewayHost": "h2",
                "legs": [{"networkUID": "red"}, {"networkUID": "blue"}],
                "external": {
                    "networkUID": "public",
                    "addresses": [{"subnetUID": "public-v4", "address": "203.0.113.10"}],
                },
            },
        },
    ),
    floating_ips=(
        {"status": {"host": "h1", "routerUID": "router", "subnetUID": "public-v4", "address": "203.0.113.11"}},
    ),
)
FOUND = {
    "h1": NetworkPicture(
        devices=frozenset({TAP, TUNNEL, "nrl1", "eth0", *BRIDGES}),
        routers=frozenset({ROUTER}),
        answering=frozenset({(ROUTER, "203.0.113.11")}),
        translated=frozenset({(ROUTER, "203.0.113.11")}),
        filtered=frozenset({TAP}),
    ),
    "h2": NetworkPicture(
        devices=frozenset({TUNNEL, *BRIDGES}),
        routers=frozenset({ROUTER}),
        answering=frozenset({(ROUTER, "203.0.113.10")}),
        ways=frozenset((TUNNEL, mac, "192.0.2.1") for mac in (MAC, EVERYBODY)),
    ),
    "h3": NetworkPicture(devices=frozenset({"eth0"})),
}


def test_a_sound_cloud_has_nothing_to_say() -> None:
    assert not list(violations(SAID, FOUND, NAMING))


@pytest.mark.parametrize(
    ("host", "change", "sentence"),
    [
        ("h1", {"devices": FOUND["h1"].devices - {TAP}}, "of Server web is missing"),
        ("h1", {"devices": FOUND["h1"].devices | {"tap9"}}, "tap tap9 belongs to no Port"),
        ("h3", {"devices": frozenset({"nbr9"})}, "bridge nbr9 belongs to no Network"),
        ("h3", {"devices": frozenset({"nrl9"})}, "lead to no Router"),
        ("h3", {"routers": frozenset({ROUTER})}, "belongs to no Router"),
        ("h2", {"answering": frozenset()}, "203.0.113.10 does not answer"),
        ("h1", {"answering": frozenset()}, "203.0.113.11 does not answer"),
        ("h2", {"answering": FOUND["h1"].answering | FOUND["h2"].answering}, "is not this host's"),
        ("h2", {"translated": FOUND["h1"].translated}, "is translated"),
        ("h2", {"ways": frozenset({(TUNNEL, EVERYBODY, "192.0.2.1")})}, f"does not lead to {MAC}"),
        ("h2", {"ways": FOUND["h2"].ways | {(TUNNEL, MAC, "192.0.2.3")}}, "by 192.0.2.3, where no Port has it"),
        ("h1", {"ways": FOUND["h2"].ways}, "where no Port has it"),
        ("h1", {"filtered": frozenset({"tap8"})}, "filters speak of tap8"),
    ],
)
def test_what_is_missing_twice_or_left_behind_is_told(host: str, change: dict[str, Any], sentence: str) -> None:
    found = {**FOUND, host: replace(FOUND[host], **change)}
    assert any(said.startswith(f"{host}: ") and sentence in said for said in violations(SAID, found, NAMING))


def test_an_address_and_a_network_identifier_have_one_holder() -> None:
    twice = {"status": {"subnetUID": "public-v4", "address": "203.0.113.10"}}
    said = replace(SAID, floating_ips=(*SAID.floating_ips, twice), networks=({"status": {"vni": 9}},))
    told = list(violations(said, FOUND, NAMING))
    assert "address 203.0.113.10 of subnet public-v4 is held by 2 objects" in told
    assert "VNI 9 is given to 2 objects" in told


@pytest.mark.parametrize(
    "element",
    [
        "tap1",
        ["tap1", 7],
        {"concat": ["tap1", "52:54:00:00:00:01"]},
        {"elem": {"val": {"concat": ["tap1", 4]}, "counter": {"packets": 0, "bytes": 0}}},
        [{"concat": ["tap1", "npo1"]}, 3],
    ],
)
def test_the_device_of_an_element_is_found_in_every_shape_that_nft_writes(element: object) -> None:
    assert first(element) == "tap1"
    kept = {"set": {"name": "any", "type": ["ifname", "mark"], "elem": [element]}}
    passing = {"set": {"name": "storm", "type": "ifname", "flags": ["timeout"], "timeout": 60, "elem": [element]}}
    other = {"map": {"name": "zones", "type": "mark", "elem": [[5, 6]]}}
    assert list(devices_of([kept, passing, other, {"metainfo": {}}])) == ["tap1"]
