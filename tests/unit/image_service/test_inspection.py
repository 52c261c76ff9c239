"""Images made by the real qemu-img, good and bad, and what the service says of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nephos_agent.storage.config_drive import write_config_drive
from nephos_api.errors import PermanentFault
from nephos_api.resources.image import ImageFormat
from nephos_operator.image_service.inspection import Inspector
from nephos_operator.image_service.qemu_info import parse

SIZE = 10 << 20
Maker = Callable[[Path], Path]


def run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def made(*options: str) -> Maker:
    def make(folder: Path) -> Path:
        run(folder, "qemu-img", "create", "-q", *options, "image", "10M")
        return folder / "image"

    return make


def on_base(driver: str) -> Maker:
    def make(folder: Path) -> Path:
        run(folder, "qemu-img", "create", "-q", "-f", driver, "base", "10M")
        run(folder, "qemu-img", "create", "-q", "-f", driver, "-b", "base", "-F", driver, "image")
        return folder / "image"

    return make


def iso(folder: Path) -> Path:
    write_config_drive(folder / "image", {"openstack/latest/meta_data.json": b"{}"})
    return folder / "image"


def holding(content: bytes) -> Maker:
    def make(folder: Path) -> Path:
        (folder / "image").write_bytes(content)
        return folder / "image"

    return make


def raw_disk(folder: Path) -> Path:
    return holding(b"\x33\xc0" + bytes(SIZE - 2))(folder)


def external_vmdk(folder: Path) -> Path:
    """A VMDK that names a file of the machine, as an attacker would write it."""
    return holding(
        b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        b'createType="monolithicFlat"\nRW 20480 FLAT "/etc/passwd" 0\n'
    )(folder)


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector(namespaces=True)


@pytest.mark.parametrize(
    ("make", "declared"),
    [
        (raw_disk, ImageFormat.RAW),
        (made("-f", "qcow2"), ImageFormat.QCOW2),
        (made("-f", "qcow2", "-o", "compat=0.10"), ImageFormat.QCOW2),
        (made("-f", "vmdk"), ImageFormat.VMDK),
        (made("-f", "vmdk", "-o", "subformat=streamOptimized"), ImageFormat.VMDK),
        (made("-f", "vdi"), ImageFormat.VDI),
        (made("-f", "vpc"), ImageFormat.VHD),
        (made("-f", "vpc", "-o", "subformat=fixed"), ImageFormat.VHD),
        (made("-f", "vhdx"), ImageFormat.VHDX),
    ],
    ids=["raw", "qcow2", "qcow2-v2", "vmdk", "vmdk-stream", "vdi", "vhd", "vhd-fixed", "vhdx"],
)
async def test_an_honest_image_is_accepted_with_its_virtual_size(
    inspector: Inspector, tmp_path: Path, make: Maker, declared: ImageFormat
) -> None:
    found = await inspector.inspect(make(tmp_path), declared)
    assert found.format is declared
    assert SIZE <= found.virtual_size_bytes < SIZE + (1 << 20)


async def test_an_iso_is_accepted(inspector: Inspector, tmp_path: Path) -> None:
    await inspector.inspect(iso(tmp_path), ImageFormat.ISO)


@pytest.mark.parametrize(
    ("make", "declared", "reason"),
    [
        (made("-f", "qcow2"), ImageFormat.RAW, "FormatMismatch"),
        (raw_disk, ImageFormat.QCOW2, "FormatMismatch"),
        (raw_disk, ImageFormat.ISO, "FormatMismatch"),
        (made("-f", "vdi"), ImageFormat.VMDK, "FormatMismatch"),
        (raw_disk, ImageFormat.VHD, "FormatMismatch"),
        (on_base("qcow2"), ImageFormat.QCOW2, "OutsideReference"),
        (on_base("qcow2"), ImageFormat.RAW, "OutsideReference"),
        (made("-f", "qcow2", "-o", "data_file=data,data_file_raw=on"), ImageFormat.QCOW2, "OutsideReference"),
        (made("-f", "vmdk", "-o", "subformat=monolithicFlat"), ImageFormat.VMDK, "OutsideReference"),
        (made("-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"), ImageFormat.VMDK, "OutsideReference"),
        (external_vmdk, ImageFormat.VMDK, "OutsideReference"),
        (external_vmdk, ImageFormat.RAW, "OutsideReference"),
        (holding(b"QFI\xfb\x00\x00\x00\x03" + b"\x00" * 600), ImageFormat.QCOW2, "Unreadable"),
        (holding(b"QFI\xfb"), ImageFormat.QCOW2, "FormatMismatch"),
        (holding(b"<html>no such image</html>"), ImageFormat.QCOW2, "FormatMismatch"),
        (made("-f", "qed"), ImageFormat.RAW, "UnknownFormat"),
    ],
    ids=[
        "qcow2-as-raw", "raw-as-qcow2", "raw-as-iso", "vdi-as-vmdk", "raw-as-vhd", "backing-file",
        "backing-file-as-raw", "data-file", "vmdk-flat", "vmdk-extents", "vmdk-evil", "vmdk-evil-as-raw",
        "qcow2-broken", "qcow2-cut", "html", "qed",
    ],
)  # fmt: skip
async def test_a_lying_broken_or_dependent_image_is_refused_with_its_reason(
    inspector: Inspector, tmp_path: Path, make: Maker, declared: ImageFormat, reason: str
) -> None:
    with pytest.raises(PermanentFault) as raised:
        await inspector.inspect(make(tmp_path), declared)
    assert raised.value.reason == reason
    assert str(tmp_path) not in raised.value.message


async def test_inspecting_works_without_namespaces_too(tmp_path: Path) -> None:
    await Inspector(namespaces=False).inspect(made("-f", "qcow2")(tmp_path), ImageFormat.QCOW2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "Unreadable"),
        (b"{}", "Unreadable"),
        (b'{"format": "qcow2", "filename": "/i", "virtual-size": -1}', "Unreadable"),
        (b'{"format": "nbd", "filename": "/i", "virtual-size": 1}', "UnknownFormat"),
        (
            b'{"format": "qcow2", "filename": "/i", "virtual-size": 1, "backing-filename": "nbd://host"}',
            "OutsideReference",
        ),
        (
            b'{"format": "qcow2", "filename": "/i", "virtual-size": 1,'
            b' "format-specific": {"type": "qcow2", "data": {"data-file": "json:{}"}}}',
            "OutsideReference",
        ),
        (
            b'{"format": "vmdk", "filename": "/i", "virtual-size": 1, "format-specific": {"type": "vmdk", "data":'
            b' {"create-type": "monolithicSparse", "extents": [{"filename": "/etc/passwd"}]}}}',
            "OutsideReference",
        ),
        (b'{"format": "qcow2", "filename": "/i", "virtual-size": 1, "encrypted": true}', "Encrypted"),
        (
            b'{"format": "qcow2", "filename": "/i", "virtual-size": 1,'
            b' "format-specific": {"type": "qcow2", "data": {"corrupt": true}}}',
            "Unreadable",
        ),
    ],
)
def test_whatever_qemu_img_reports_is_judged(answer: bytes, reason: str) -> None:
    with pytest.raises(PermanentFault) as raised:
        parse(answer)
    assert raised.value.reason == reason
