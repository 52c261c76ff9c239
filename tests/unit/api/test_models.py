"""What code may rely on when it reads and writes objects."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nephos_api import conditions, identity
from nephos_api.conditions import ConditionType, is_true, merge, ready, reconciling, stalled
from nephos_api.metadata import Metadata
from nephos_api.resources import KINDS, Image, Server
from nephos_api.resources.port import PortSpec

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"


def image(sha256: Any) -> Image:
    source = {"url": "https://example.org/a", "sha256": sha256}
    return Image.model_validate({"metadata": {"name": "a"}, "spec": {"source": source, "format": "raw"}})


@pytest.mark.parametrize(
    ("given_value", "read"), [(0, "0" * 64), (12, "0" * 62 + "12"), ("ab" * 32, "ab" * 32), (None, None)]
)
def test_a_checksum_of_digits_alone_is_padded(given_value: Any, read: str | None) -> None:
    assert image(given_value).spec.source.sha256 == read


def test_older_code_reads_newer_objects() -> None:
    body = {"metadata": {"name": "a", "future": 1}, "spec": {"flavor": "f", "image": "i", "future": 1}, "future": 1}
    assert Server.model_validate(body).spec.flavor == "f"


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Metadata(name="a").name = "b"  # type: ignore[misc]  # why: this is what must fail


def test_what_is_none_is_not_written() -> None:
    assert PortSpec(network="blue", network_uid="u1").to_wire() == {
        "network": "blue",
        "networkUID": "u1",
        "addresses": [],
        "allocations": [],
        "allowedAddressPairs": [],
        "enabled": True,
        "securityGroupReferences": [],
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_every_status_is_readable_while_it_is_empty(kind: Any) -> None:
    assert kind.model_fields["status"].get_default().to_wire() is not None


class TestConditions:
    def test_an_object_is_ready_reconciling_or_stalled(self) -> None:
        at = {"now": NOW, "generation": 1}
        assert is_true(ready("Active", **at), ConditionType.READY)  # type: ignore[arg-type]  # why: two types in one dict
        for made, also in ((reconciling, ConditionType.RECONCILING), (stalled, ConditionType.STALLED)):
            found = made("Because", "A sentence", **at)  # type: ignore[arg-type]  # why: two types in one dict
            assert not is_true(found, ConditionType.READY)
            assert is_true(found, also)

    def test_a_transition_time_stays_while_the_status_does(self) -> None:
        old = reconciling("Waiting", "for a Network", now=NOW, generation=1)
        same = merge(old, reconciling("Waiting", "for a Subnet", now=LATER, generation=2))
        assert {condition.last_transition_time for condition in same} == {NOW}
        assert {condition.message for condition in same} == {"for a Subnet"}
        other = merge(old, ready("Active", now=LATER, generation=2))
        assert conditions.find(other, ConditionType.READY) is not None
        assert {condition.last_transition_time for condition in other} == {LATER}


class TestIdentity:
    @given(uid=st.uuids(), nic=st.from_regex(r"[a-z0-9]{1,15}", fullmatch=True))
    def test_a_mac_address_is_unicast_local_and_always_the_same(self, uid: Any, nic: str) -> None:
        mac = identity.mac_address(str(uid), nic)
        first = int(mac.split(":")[0], 16)
        assert (first & 1, first & 2) == (0, 2)
        assert mac == identity.mac_address(str(uid), nic)
        assert len(mac) == 17

    @given(uid=st.uuids(), prefix=st.from_regex(r"[a-z]{1,4}", fullmatch=True))
    def test_a_device_name_fits_the_kernel(self, uid: Any, prefix: str) -> None:
        assert len(identity.device_name(prefix, str(uid))) <= 15

    def test_the_longest_port_name_is_a_dns_label(self) -> None:
        assert len(identity.port_name("s" * 47, "n" * 15)) == 63
