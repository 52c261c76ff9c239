"""Two clouds of one machine never get the same name or slot."""

from pathlib import Path

import pytest

from nephos_dev import claim
from nephos_dev.layout import SLOTS


def test_a_cloud_keeps_its_claim(tmp_path: Path) -> None:
    first = claim.take(tmp_path / "run", "net1", tmp_path / "state")
    assert claim.take(tmp_path / "run", "net1", tmp_path / "state") == first
    assert claim.find(tmp_path / "run", "net1") == first


def test_a_name_held_by_another_work_tree_is_refused_with_the_way_out(tmp_path: Path) -> None:
    claim.take(tmp_path / "run", "nephos", tmp_path / "one")
    with pytest.raises(claim.ClaimError, match="make down"):
        claim.take(tmp_path / "run", "nephos", tmp_path / "two")


def test_a_claim_of_a_removed_work_tree_is_free_again(tmp_path: Path) -> None:
    gone = tmp_path / "one"
    claim.take(tmp_path / "run", "nephos", gone)
    gone.rmdir()
    assert claim.take(tmp_path / "run", "nephos", tmp_path / "two").state == str(tmp_path / "two")


def test_a_released_claim_is_gone(tmp_path: Path) -> None:
    claim.take(tmp_path / "run", "net1", tmp_path / "state")
    claim.release(tmp_path / "run", "net1")
    assert claim.find(tmp_path / "run", "net1") is None


def test_names_that_hash_alike_get_different_slots() -> None:
    first = claim.choose_slot("net1", {})
    assert claim.choose_slot("net1", {"other": first}) == (first + 1) % SLOTS


def test_a_full_machine_is_told() -> None:
    taken = {f"cloud{slot}": slot for slot in range(SLOTS)}
    with pytest.raises(claim.ClaimError, match="taken"):
        claim.choose_slot("net1", taken)
