"""Debian's packages as inputs: which version apt would install, fetched once and checked by apt."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nephos_dev import files
from nephos_dev.images.store import hash_file
from nephos_dev.images.tools import ImageBuildError, Tools

_URI_LINE = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")

_LISTS = ("var/lib/apt/lists/*", "etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/apt/preferences.d/*")


@dataclass(frozen=True)
class DebianPackage:
    """One package file as apt's lists describe it."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Selection:
    """The packages of one image: their names as apt knows them, and the files that stand behind them."""

    names: tuple[str, ...]
    packages: tuple[DebianPackage, ...]


def select(tools: Tools, cache_dir: Path, kernel: str, names: Sequence[str]) -> Selection:
    """Ask apt's lists, without the network, for a kernel's meta package and other packages.

    apt takes seconds to open its lists, so that its answer is kept for as long as they are the same.

    Raises:
        ImageBuildError: apt does not know one of them.
    """
    question = json.dumps([lists_state(Path("/")), kernel, *names])
    answer = cache_dir / "debs" / f"answer-{hashlib.sha256(question.encode()).hexdigest()[:16]}.json"
    if answer.exists():
        return parse_answer(answer.read_text())
    all_names = (kernel_package(tools, kernel), *names)
    selection = Selection(names=all_names, packages=tuple(candidates(tools, all_names)))
    files.write(answer, json.dumps(asdict(selection), indent=1))
    return selection


def parse_answer(text: str) -> Selection:
    """Read a selection that was kept as JSON."""
    answer = json.loads(text)
    packages = tuple(DebianPackage(**package) for package in answer["packages"])
    return Selection(names=tuple(answer["names"]), packages=packages)


def lists_state(root: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of apt's lists, sources and preferences: while they are the same, so is what apt says."""
    found = [path for pattern in _LISTS for path in root.glob(pattern) if path.is_file() and path.name != "lock"]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(found)]


def candidates(tools: Tools, names: Sequence[str]) -> list[DebianPackage]:
    """Ask apt which files it would fetch for these packages."""
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


def download(tools: Tools, selection: Selection, folder: Path) -> list[Path]:
    """Fetch what is missing into a folder that is kept, and return the files.

    Raises:
        ImageBuildError: apt could not fetch a file, or it is not the one its lists promised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fetched = [folder / package.file for package in selection.packages]
    if not all(file.exists() for file in fetched):
        tools.report(f"fetching {len(fetched)} Debian packages")
        # apt's own user may not write into a folder of root's home.
        tools.run(
            "fetch packages", ["apt-get", "download", "-o", "APT::Sandbox::User=root", *selection.names], cwd=folder
        )
    for file, package in zip(fetched, selection.packages, strict=True):
        if hash_file(file) != package.sha256:
            file.unlink()
            raise ImageBuildError(f"fetch packages: {file.name} is not what apt's list promised; removed, try again")
    return fetched


def unpack(tools: Tools, archives: Sequence[Path], folder: Path) -> None:
    """Unpack package files into one folder, without running their scripts."""
    for file in archives:
        tools.run("unpack packages", ["dpkg-deb", "-x", file, folder])
