"""Guest images are found again by what they are made from, appear whole, and say clearly what an input lacks."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from nephos_dev.images import ImageBuildError, tiny
from nephos_dev.images.debian import (
    DebianPackage,
    Selection,
    lists_state,
    parse_answer,
    parse_kernel_dependency,
    parse_uris,
)
from nephos_dev.images.sources import guest_files
from nephos_dev.images.store import find_or_build, hash_tree, inputs_key, qcow2_virtual_size_bytes
from nephos_dev.images.tools import Tools, no_report

_QCOW2_OF_1_GIB = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(16) + (2**30).to_bytes(8, "big") + b"content"


def _writes_an_image(_work: Path, target: Path) -> None:
    target.write_bytes(_QCOW2_OF_1_GIB)


def _must_not_run(_work: Path, _target: Path) -> None:
    pytest.fail("built again although nothing changed")


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "images").iterdir() if not path.name.startswith("."))


def test_an_image_is_built_once_and_then_found(tmp_path: Path) -> None:
    built = find_or_build(tmp_path, "x", {"kernel": "1"}, _writes_an_image, no_report)
    assert built.virtual_size_bytes == 2**30
    assert find_or_build(tmp_path, "x", {"kernel": "1"}, _must_not_run, no_report) == built


def test_another_input_gives_another_image_beside_the_first(tmp_path: Path) -> None:
    first = find_or_build(tmp_path, "x", {"kernel": "1"}, _writes_an_image, no_report)
    second = find_or_build(tmp_path, "x", {"kernel": "2"}, _writes_an_image, no_report)
    assert first.path != second.path
    assert first.path.exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fails_half_way(work: Path, target: Path) -> None:
        (work / "half").write_text("x")
        target.write_bytes(b"half")
        raise ImageBuildError("no space")

    with pytest.raises(ImageBuildError):
        find_or_build(tmp_path, "x", {"kernel": "1"}, fails_half_way, no_report)
    assert _files(tmp_path) == []


def test_a_lost_image_is_built_again(tmp_path: Path) -> None:
    built = find_or_build(tmp_path, "x", {"kernel": "1"}, _writes_an_image, no_report)
    built.path.unlink()
    assert find_or_build(tmp_path, "x", {"kernel": "1"}, _writes_an_image, no_report) == built
    assert built.path.exists()


def test_the_key_does_not_depend_on_the_order_of_inputs() -> None:
    assert inputs_key({"a": "1", "b": "2"}) == inputs_key({"b": "2", "a": "1"})
    assert inputs_key({"a": "1", "b": "2"}) != inputs_key({"a": "2", "b": "1"})


def test_a_trees_hash_follows_names_contents_and_executable_bits(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("one")
    script.chmod(0o644)
    seen = {hash_tree(tmp_path)}
    script.chmod(0o755)
    seen.add(hash_tree(tmp_path))
    script.write_text("two")
    seen.add(hash_tree(tmp_path))
    script.rename(tmp_path / "other")
    seen.add(hash_tree(tmp_path))
    assert len(seen) == 4


def test_what_is_no_qcow2_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(64))
    with pytest.raises(ValueError, match="not a qcow2"):
        qcow2_virtual_size_bytes(image)


def test_apts_answer_names_files_and_checksums() -> None:
    line = f"'http://mirror/pool/b_1%3a1_amd64.deb' b_1%3a1_amd64.deb 10 SHA256:{'b' * 64}"
    first = f"'http://mirror/pool/a_2_amd64.deb' a_2_amd64.deb 10 SHA256:{'a' * 64}"
    assert parse_uris(f"{line}\n{first}\n", expected=2) == [
        DebianPackage("a_2_amd64.deb", "a" * 64),
        DebianPackage("b_1%3a1_amd64.deb", "b" * 64),
    ]


def test_a_package_that_apt_does_not_name_is_an_error() -> None:
    with pytest.raises(ImageBuildError, match="0 files, not 1"):
        parse_uris("E: Unable to locate package", expected=1)


def test_apt_is_asked_again_when_its_lists_change(tmp_path: Path) -> None:
    lists = tmp_path / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    states = [lists_state(tmp_path)]
    (lists / "Packages").write_text("a")
    states.append(lists_state(tmp_path))
    (lists / "Packages").write_text("ab")
    states.append(lists_state(tmp_path))
    (tmp_path / "etc/apt/preferences.d").mkdir(parents=True)
    (tmp_path / "etc/apt/preferences.d/pin").write_text("x")
    states.append(lists_state(tmp_path))
    assert len({str(state) for state in states}) == 4
    assert lists_state(tmp_path) == states[-1]


def test_what_apt_said_is_read_back_as_it_was() -> None:
    selection = Selection(names=("a",), packages=(DebianPackage("a_1_amd64.deb", "0" * 64),))
    assert parse_answer(json.dumps(asdict(selection))) == selection


def test_the_kernel_is_what_the_meta_package_depends_on() -> None:
    output = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n"
    assert parse_kernel_dependency(output, "linux-image-cloud-amd64") == "linux-image-6.1.0-56-cloud-amd64"
    with pytest.raises(ImageBuildError, match="depends on no kernel"):
        parse_kernel_dependency("linux-image-cloud-amd64\n", "linux-image-cloud-amd64")


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephos_dev.images.tools._search_path", lambda: str(tmp_path))
    tools = Tools.for_image(tmp_path, "x", report=no_report, environment={})
    with pytest.raises(ImageBuildError, match="copy: the program mcopy is missing; install the Debian package mtools"):
        tools.run("copy", ["mcopy"])


def test_a_failing_program_says_step_status_and_its_last_line(tmp_path: Path) -> None:
    tools = Tools.for_image(tmp_path, "x", report=no_report, environment={})
    with pytest.raises(ImageBuildError, match=r"^list: ls ended with status 2: .*No such file") as raised:
        tools.run("list", ["ls", str(tmp_path / "nothing")])
    assert raised.value.log == tools.log
    assert "== list" in tools.log.read_text()


def test_the_guest_loads_exactly_the_modules_that_are_packed() -> None:
    script = (guest_files("tiny") / "rootfs/etc/boot/network").read_text().replace("\\\n", " ")
    loaded = [name for line in re.findall(r"^load (.*)$", script, re.MULTILINE) for name in line.split()]
    assert loaded == [module.rpartition("/")[2] for module in tiny.MODULES]
