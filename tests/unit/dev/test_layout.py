"""Where a cloud lives follows from its name and slot alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_dev.layout import SLOTS, Layout, LayoutError

CLOUD_ID = "0b1f6a52-2b0c-4c0e-9a55-6d7a0c8f3e11"


def layout(name: str = "nephos", slot: int = 0) -> Layout:
    return Layout(name=name, slot=slot, cloud_id=CLOUD_ID, work_tree=Path("/src"), cache=Path("/cache"))


def test_the_default_cloud_lies_in_the_work_tree_and_others_below_it() -> None:
    assert layout().state == Path("/src/.nephos")
    assert layout().kubeconfig == Path("/src/.nephos/kubeconfig")
    assert layout("net1").state == Path("/src/.nephos/clouds/net1")


def test_hosts_are_the_network_namespaces_named_after_the_cloud() -> None:
    first, second = layout().hosts(2)
    assert (first.netns, second.netns) == ("nephos-h1", "nephos-h2")
    assert first.address != second.address
    assert {first.address, second.address} < set(layout().underlay)


@pytest.mark.parametrize("name", ["", "9lives", "Upper", "with-hyphen", "ninechars"])
def test_a_name_that_does_not_fit_an_interface_is_refused(name: str) -> None:
    with pytest.raises(LayoutError, match="1 to 8 characters"):
        layout(name)


@pytest.mark.parametrize("count", [-1, 100])
def test_hosts_beyond_what_names_can_carry_are_refused(count: int) -> None:
    with pytest.raises(LayoutError, match="1 to 99 hosts"):
        layout().host(count)


@given(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))
def test_two_slots_share_neither_ports_nor_underlay(one: int, other: int) -> None:
    if one == other:
        return
    ports = [_all_ports(layout(slot=slot)) for slot in (one, other)]
    assert not ports[0] & ports[1]
    assert not layout(slot=one).underlay.overlaps(layout(slot=other).underlay)


@given(st.integers(0, SLOTS - 1))
def test_no_port_is_one_that_the_kernel_hands_out(slot: int) -> None:
    assert all(1024 < port < 32_768 for port in _all_ports(layout(slot=slot)))


@given(st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True), st.integers(1, 99))
def test_every_interface_name_fits_the_kernel(name: str, number: int) -> None:
    cloud = layout(name)
    host = cloud.host(number)
    assert all(len(interface) <= 15 for interface in (host.name, cloud.underlay_interface))


def _all_ports(cloud: Layout) -> set[int]:
    ports = cloud.ports
    single = {
        ports.etcd,
        ports.etcd_peer,
        ports.apiserver,
        ports.controller_manager,
        ports.image_service,
        ports.image_service_metrics,
        ports.webhook,
    }
    assert len(single | set(ports.operator_metrics)) == len(single) + len(ports.operator_metrics)
    return single | set(ports.operator_metrics)
