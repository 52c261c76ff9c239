"""Debian's packages as inputs: which version apt would install, fetched once and checked by apt."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nephos_dev.images.store import hash_file
from nephos_dev.images.tools import ImageBuildError, Tools

_URI_LINE = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class DebianPackage:
    """One package file as apt's lists describe it."""

    file: str
    sha256: str


def candidates(tools: Tools, names: Sequence[str]) -> list[DebianPackage]:
    """Ask apt's lists, without the network, which files it would fetch for these packages.

    Raises:
        ImageBuildError: apt does not know one of them.
    """
    output = tools.run(
        "find packages (apt-get update fills apt's lists)",
        ["apt-get", "download", "--print-uris", *names],
    )
    return parse_uris(output.decode(), expected=len(names))


def parse_uris(output: str, *, expected: int) -> list[DebianPackage]:
    """Read the lines of `apt-get download --print-uris`, sorted by file name."""
    matches = [match for line in output.splitlines() if (match := _URI_LINE.match(line))]
    if len(matches) != expected:
        raise ImageBuildError(f"find packages: apt named {len(matches)} files, not {expected}: {output.strip()}")
    packages = (DebianPackage(match["file"], match["sha256"]) for match in matches)
    return sorted(packages, key=lambda package: package.file)


def kernel_package(tools: Tools, meta_package: str) -> str:
    """Name the package of the kernel that a meta package such as linux-image-cloud-amd64 depends on."""
    output = tools.run("find the kernel", ["apt-cache", "depends", "--no-recommends", meta_package]).decode()
    return parse_kernel_dependency(output, meta_package)


def parse_kernel_dependency(output: str, meta_package: str) -> str:
    """Read the output of `apt-cache depends` of a kernel's meta package."""
    match = re.search(r"Depends: (linux-image-\d\S*)", output)
    if match is None:
        raise ImageBuildError(f"find the kernel: {meta_package} depends on no kernel: {output.strip()}")
    return match[1]


def download(tools: Tools, packages: Sequence[DebianPackage], names: Sequence[str], folder: Path) -> list[Path]:
    """Fetch what is missing into a folder that is kept, and return the files.

    Raises:
        ImageBuildError: apt could not fetch a file, or it is not the one its lists promised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / package.file for package in packages]
    if not all(file.exists() for file in files):
        tools.report(f"fetching {len(files)} Debian packages")
        # apt's own user may not write into a folder of root's home.
        tools.run("fetch packages", ["apt-get", "download", "-o", "APT::Sandbox::User=root", *names], cwd=folder)
    for file, package in zip(files, packages, strict=True):
        if hash_file(file) != package.sha256:
            file.unlink()
            raise ImageBuildError(f"fetch packages: {file.name} is not what apt's list promised; removed, try again")
    return files


def unpack(tools: Tools, files: Sequence[Path], folder: Path) -> None:
    """Unpack package files into one folder, without running their scripts."""
    for file in files:
        tools.run("unpack packages", ["dpkg-deb", "-x", file, folder])
