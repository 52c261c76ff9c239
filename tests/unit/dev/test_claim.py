"""Two clouds of one machine never get the same name or slot."""

import dataclasses
import json
import shutil
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
    shutil.rmtree(gone)
    assert claim.take(tmp_path / "run", "nephos", tmp_path / "two").state == str(tmp_path / "two")


def test_a_cloud_keeps_its_identity_across_a_reboot_of_the_machine(tmp_path: Path) -> None:
    before = claim.take(tmp_path / "run", "net1", tmp_path / "state")
    shutil.rmtree(tmp_path / "run")
    assert claim.take(tmp_path / "run", "net1", tmp_path / "state") == before


def test_a_remembered_slot_that_another_cloud_took_meanwhile_is_not_shared(tmp_path: Path) -> None:
    before = claim.take(tmp_path / "run", "net1", tmp_path / "state")
    shutil.rmtree(tmp_path / "run")
    rival = dataclasses.replace(before, name="other", state=str(tmp_path))
    (tmp_path / "run" / "claims").mkdir(parents=True)
    (tmp_path / "run" / "claims" / "other.json").write_text(json.dumps(dataclasses.asdict(rival)))
    with pytest.raises(claim.ClaimError, match="'other'"):
        claim.take(tmp_path / "run", "net1", tmp_path / "state")


def test_the_last_cloud_leaves_no_file(tmp_path: Path) -> None:
    claim.take(tmp_path / "run", "net1", tmp_path / "one")
    claim.take(tmp_path / "run", "net2", tmp_path / "two")
    claim.release(tmp_path / "run", "net1")
    assert (tmp_path / "run").is_dir()
    claim.release(tmp_path / "run", "net2")
    assert not (tmp_path / "run").exists()


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
