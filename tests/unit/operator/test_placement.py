from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_api.resources import Host, Server
from nephos_api.resources.server_group import ServerGroupPolicy
from nephos_operator import vni
from nephos_operator.ledger import Claim, Ledger, Sums
from nephos_operator.placement.decision import Chosen, NoValidHost, decide
from nephos_operator.placement.filters import IO_LOAD_LIMIT, refused_by
from nephos_operator.placement.snapshot import HostView, Inventory, Request, view
from nephos_operator.precedence import winner


def host(name: str = "h1", used: Sums | None = None, **fields: Any) -> HostView:
    plain = HostView(
        name=name,
        is_up=True,
        is_enabled=True,
        availability_zone="nova",
        labels={},
        traits=frozenset(),
        architecture="x86_64",
        machine_types=frozenset({"q35"}),
        firmwares=frozenset({"BIOS", "UEFI"}),
        vcpus=Inventory(4, 0, 4.0),
        memory=Inventory(4096, 512, 1.0),
        disk=Inventory(100, 0, 1.0),
        most_servers=0,
        used=used or Sums(),
    )
    return replace(plain, **fields)


def request(**fields: Any) -> Request:
    return replace(Request("uid", vcpus=1, memory_mib=512, disk_gib=10), **fields)


@pytest.mark.parametrize(
    ("total", "reserved", "ratio", "used", "requested", "fits"),
    [
        (4, 0, 4.0, 15, 1, True),
        (4, 0, 4.0, 16, 1, False),
        (4, 0, 4.0, 0, 5, False),
        (4096, 512, 1.0, 3072, 512, True),
        (4096, 512, 1.0, 3073, 512, False),
        (0, 0, 1.0, 0, 1, False),
    ],
)
def test_a_request_fits_as_placement_says(
    total: int, reserved: int, ratio: float, used: int, requested: int, fits: bool
) -> None:
    assert Inventory(total, reserved, ratio).fits(used, requested) is fits


@pytest.mark.parametrize(
    ("asks", "has", "refusal"),
    [
        ({}, {}, None),
        ({}, {"is_up": False}, "not-up"),
        ({}, {"is_enabled": False}, "disabled"),
        ({"availability_zone": "a"}, {}, "availability-zone"),
        ({"availability_zone": "a"}, {"availability_zone": "a"}, None),
        ({"host_labels": {"ssd": "true"}}, {}, "labels"),
        ({"host_labels": {"ssd": "true"}}, {"labels": {"ssd": "true", "x": "y"}}, None),
        ({"required_traits": frozenset({"AVX"})}, {}, "traits"),
        ({"forbidden_traits": frozenset({"AVX"})}, {"traits": frozenset({"AVX"})}, "traits"),
        ({"architecture": "aarch64"}, {}, "image-properties"),
        ({"machine_type": "pc"}, {}, "image-properties"),
        ({"firmware": "UEFI"}, {"firmwares": frozenset({"BIOS"})}, "image-properties"),
        ({"vcpus": 5}, {}, "vcpus"),
        ({"memory_mib": 4000}, {}, "memory"),
        ({"disk_gib": 101}, {}, "disk"),
        ({}, {"most_servers": 1, "used": Sums(servers=1)}, "number-of-servers"),
        ({}, {"used": Sums(building=IO_LOAD_LIMIT)}, "io-load"),
        ({"refused_by": frozenset({"h1"})}, {}, "refused-before"),
        ({"policy": ServerGroupPolicy.AFFINITY, "group_hosts": {"h2": 1}}, {}, "affinity"),
        ({"policy": ServerGroupPolicy.AFFINITY}, {}, None),
        ({"policy": ServerGroupPolicy.ANTI_AFFINITY, "group_hosts": {"h1": 1}}, {}, "anti-affinity"),
        ({"policy": ServerGroupPolicy.SOFT_ANTI_AFFINITY, "group_hosts": {"h1": 1}}, {}, None),
    ],
)
def test_a_filter_refuses_for_its_reason_only(asks: dict[str, Any], has: dict[str, Any], refusal: str | None) -> None:
    assert refused_by(request(**asks), host(**has)) == refusal


def test_the_emptiest_host_wins() -> None:
    full = host("full", Sums(memory_mib=2048, vcpus=4, servers=4))
    assert decide(request(), [full, host("empty")]) == Chosen("empty")


def test_soft_policies_prefer_and_do_not_insist() -> None:
    hosts = [host("h1"), host("h2")]
    together = request(policy=ServerGroupPolicy.SOFT_AFFINITY, group_hosts={"h2": 1})
    apart = request(policy=ServerGroupPolicy.SOFT_ANTI_AFFINITY, group_hosts={"h2": 1})
    assert decide(together, hosts) == Chosen("h2")
    assert decide(apart, hosts) == Chosen("h1")
    assert decide(replace(apart, group_hosts={"h1": 2, "h2": 1}), hosts) == Chosen("h2")


def test_equal_hosts_are_used_evenly() -> None:
    hosts = [host(f"h{number}") for number in range(4)]
    chosen = [decide(request(server_uid=f"uid-{number}"), hosts) for number in range(200)]
    counts = [chosen.count(Chosen(view.name)) for view in hosts]
    assert min(counts) > 25


def test_an_exhausted_search_counts_the_hosts_that_each_filter_refused() -> None:
    hosts = [host("a", is_up=False), host("b", is_up=False), host("c", is_enabled=False)]
    decision = decide(request(), hosts)
    assert isinstance(decision, NoValidHost)
    assert decision.message.startswith("No valid host: all of 3 were refused (disabled 1, not-up 2)")
    assert "no Host at all" in NoValidHost({}).message


def test_busy_hosts_are_waited_for() -> None:
    decision = decide(request(), [host(used=Sums(building=IO_LOAD_LIMIT)), host("b", is_up=False)])
    assert isinstance(decision, NoValidHost)
    assert decision.is_passing


def test_what_an_earlier_try_left_decides_while_it_still_fits() -> None:
    hosts = [host("empty"), host("left", Sums(memory_mib=1024))]
    assert decide(request(), hosts, preferred="left") == Chosen("left")
    assert decide(request(), [host("empty"), host("left", is_up=False)], preferred="left") == Chosen("empty")


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(64, 2048), st.integers(1, 40)), max_size=40),
    st.integers(1, 4),
)
def test_no_sequence_of_decisions_promises_more_than_there_is(asked: list[tuple[int, int, int]], count: int) -> None:
    ledger = Ledger()
    status = {
        "phase": "Up",
        "address": "192.0.2.1",
        "capacity": {"vcpus": 4, "memoryMiB": 4096, "diskGiB": 100},
        "architecture": "x86_64",
        "firmwares": ["BIOS"],
    }
    hosts = [Host.model_validate({"metadata": {"name": f"h{n}"}, "status": status}) for n in range(count)]
    for number, (vcpus, memory_mib, disk_gib) in enumerate(asked):
        views = [view(each, ledger.on_host(each.metadata.name)) for each in hosts]
        asks = request(server_uid=str(number), vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
        decision = decide(asks, views)
        if isinstance(decision, Chosen):
            claim = Claim("demo", decision.host, vcpus, memory_mib, disk_gib, is_building=False)
            ledger.assume(str(number), claim)
    for each in hosts:
        sums = ledger.on_host(each.metadata.name)
        assert sums.vcpus <= 16
        assert sums.memory_mib <= 4096 - 512
        assert sums.disk_gib <= 100


def server(uid: str, host_name: str | None, **status: Any) -> Server:
    flavor = {"name": "tiny", "vcpus": 1, "memoryMiB": 128, "diskGiB": 1}
    body = {"host": host_name, "flavor": flavor, "phase": "Build"} if host_name else {}
    metadata = {"name": uid, "namespace": "demo", "uid": uid}
    spec = {"flavor": "tiny", "image": "tiny", "serverGroup": "g"}
    return Server.model_validate({"metadata": metadata, "spec": spec, "status": body | status})


def test_an_assumed_claim_counts_until_the_status_says_it() -> None:
    ledger = Ledger()
    ledger.assume("a", Claim("demo", "h1", 1, 128, 1, ("demo", "g")))
    ledger.observe(server("a", None))
    assert ledger.on_host("h1").servers == 1
    ledger.observe(server("a", "h1"))
    ledger.abandon("a")
    assert ledger.on_host("h1").memory_mib == 128
    assert ledger.group_hosts(("demo", "g"), without="b") == {"h1": 1}
    assert ledger.group_hosts(("demo", "g"), without="a") == {}
    ledger.forget("a")
    assert ledger.on_host("h1").servers == 0


def test_a_claim_moves_with_a_new_placement_and_comes_back_when_that_is_given_up() -> None:
    ledger = Ledger()
    ledger.observe(server("a", "h1"))
    ledger.assume("a", Claim("demo", "h2", 1, 128, 1))
    ledger.observe(server("a", "h1", placementEpoch=1))
    assert (ledger.on_host("h1").servers, ledger.on_host("h2").servers) == (0, 1)
    ledger.abandon("a")
    assert (ledger.on_host("h1").servers, ledger.on_host("h2").servers) == (1, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["h1", "h2", None]), st.booleans()), max_size=40))
def test_the_sums_are_always_those_of_the_claims(steps: list[tuple[str, str | None, bool]]) -> None:
    ledger = Ledger()
    for uid, host_name, assumed in steps:
        if assumed and host_name:
            ledger.assume(uid, Claim("demo", host_name, 1, 128, 1))
        elif assumed:
            ledger.abandon(uid)
        else:
            ledger.observe(server(uid, host_name))
        claims = [claim for uid in "abc" if (claim := ledger.claim_of(uid))]
        for name in ("h1", "h2"):
            assert ledger.on_host(name).servers == sum(claim.host == name for claim in claims)
        assert ledger.in_namespace("demo").vcpus == len(claims)


def test_a_vni_is_free_derived_from_the_uid_and_never_small() -> None:
    first = vni.choose("uid", lambda _: False)
    assert first == vni.choose("uid", lambda _: False)
    assert first is not None
    second = vni.choose("uid", lambda candidate: candidate == first)
    assert second not in (None, first)
    assert vni.FIRST <= first <= vni.LAST


@pytest.mark.parametrize(
    ("one", "other", "best"),
    [
        (("Build", "2026-01-01T00:00:00Z", "a"), ("Active", "2026-01-02T00:00:00Z", "b"), "b"),
        (("Active", "2026-01-01T00:00:00Z", "b"), ("Active", "2026-01-02T00:00:00Z", "a"), "b"),
        (("Build", "2026-01-01T00:00:00Z", "b"), ("Build", "2026-01-01T00:00:00Z", "a"), "a"),
    ],
)
def test_of_two_claims_active_then_older_then_smaller_uid_wins(
    one: tuple[str, str, str], other: tuple[str, str, str], best: str
) -> None:
    claimants = [
        Server.model_validate(
            {
                "metadata": {"name": uid, "uid": uid, "creationTimestamp": created},
                "spec": {"flavor": "f", "image": "i"},
                "status": {"phase": phase},
            }
        )
        for phase, created, uid in (one, other)
    ]
    assert winner(claimants).uid == best
