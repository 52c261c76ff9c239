"""The cache of built images: one file a build, named by the hash of everything that went into it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nephos_dev import files
from nephos_dev.images.tools import Report


@dataclass(frozen=True)
class BuiltImage:
    """A qcow2 image that is ready to be used."""

    path: Path
    sha256: str
    virtual_size_bytes: int


def default_cache_dir() -> Path:
    """The folder that outlives clouds and work trees: $NEPHOS_CACHE, else ~/.cache/nephos."""
    return Path(os.environ.get("NEPHOS_CACHE") or Path.home() / ".cache" / "nephos")


def inputs_key(inputs: Mapping[str, str]) -> str:
    """Hash the inputs of a build; the same inputs give the same key on every machine."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def hash_tree(folder: Path) -> str:
    """Hash names, modes and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        executable = path.is_file() and bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(folder)}\0{int(executable)}\0".encode())
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_or_build(
    cache_dir: Path,
    name: str,
    inputs: Mapping[str, str],
    build: Callable[[Path, Path], None],
    report: Report,
) -> BuiltImage:
    """Return the image made from exactly these inputs; build it if the cache has none.

    `build(work, target)` writes the image to `target` and may use the empty folder `work`. The image appears under its
    name whole or not at all, and two processes that ask for it at once build it once.
    """
    images = cache_dir / "images"
    images.mkdir(parents=True, exist_ok=True)
    key = inputs_key(inputs)
    image = images / f"{name}-{key[:16]}.qcow2"
    with files.locked(images / f".{name}.lock"):
        found = read_stamp(image)
        if found is not None:
            return found
        report(f"image {name}: building")
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=images) as folder:
            target = Path(folder) / image.name
            work = Path(folder) / "work"
            work.mkdir()
            build(work, target)
            built = replace(_describe(target), path=image)
            stamp = _write_stamp(target, built, inputs)
            # The stamp goes first: an image without one is never taken for a finished one, nor the other way round.
            stamp.replace(_stamp_path(image))
            target.replace(image)
    report(f"image {name}: {built.path} ({built.path.stat().st_size / 2**20:.0f} MiB)")
    return built


def read_stamp(image: Path) -> BuiltImage | None:
    """Return the image if it and its stamp are there."""
    try:
        stamp = json.loads(_stamp_path(image).read_text())
    except FileNotFoundError:
        return None
    if not image.exists():
        return None
    return BuiltImage(path=image, sha256=stamp["sha256"], virtual_size_bytes=stamp["virtualSizeBytes"])


def _stamp_path(image: Path) -> Path:
    return image.with_suffix(".json")


def _describe(image: Path) -> BuiltImage:
    return BuiltImage(path=image, sha256=hash_file(image), virtual_size_bytes=qcow2_virtual_size_bytes(image))


def _write_stamp(target: Path, built: BuiltImage, inputs: Mapping[str, str]) -> Path:
    stamp = {"sha256": built.sha256, "virtualSizeBytes": built.virtual_size_bytes, "inputs": dict(inputs)}
    path = _stamp_path(target)
    path.write_text(json.dumps(stamp, indent=2, sort_keys=True) + "\n")
    return path


def qcow2_virtual_size_bytes(image: Path) -> int:
    """Read the virtual size from a qcow2 header (bytes 24 to 31, big-endian)."""
    with image.open("rb") as file:
        header = file.read(32)
    if header[:4] != b"QFI\xfb":
        raise ValueError(f"{image} is not a qcow2 image")
    return int.from_bytes(header[24:32], "big")
