"""The same files give the same disk, to the byte, whenever and wherever it is built."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from nephos_dev.images import initramfs
from nephos_dev.images.disk import BootFiles, DiskPlan, SecondPartition, build_disk
from nephos_dev.images.sources import build_environment
from nephos_dev.images.tools import PACKAGES, Tools, no_report

_NEEDED = sorted(PACKAGES.keys() - {"apt-get", "dpkg-deb", "mmdebstrap"})
pytestmark = pytest.mark.skipif(
    any(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None for program in _NEEDED),
    reason=f"needs {', '.join(_NEEDED)}",
)
_PLAN = DiskPlan(
    boot_size_mib=32, second=SecondPartition(size_mib=8, uuid="6e657068-6f73-4000-8000-000000000001", label="data")
)


def _build(work: Path, mtime: int) -> str:
    tools = Tools.for_image(work, "x", report=no_report, environment=build_environment())
    root = work / "root"
    (root / "etc").mkdir(parents=True)
    for name in ("etc/b", "etc/a", "init"):
        (root / name).write_text(name)
        os.utime(root / name, (mtime, mtime))
    boot = BootFiles(kernel=work / "kernel", initrd=work / "initrd", config=work / "config")
    initramfs.pack(tools, root, boot.initrd)
    boot.kernel.write_bytes(b"kernel" * 1000)
    boot.config.write_text("DEFAULT x\n")
    build_disk(tools, _PLAN, boot=boot, content=None, work=work, target=work / "disk.qcow2")
    return hashlib.sha256((work / "disk.qcow2").read_bytes()).hexdigest()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "elsewhere" / "second"
    first.mkdir()
    second.mkdir(parents=True)
    assert _build(first, mtime=1_000_000_000) == _build(second, mtime=1_600_000_000)
