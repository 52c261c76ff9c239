"""Container images without a registry: a base from Debian's packages, the rest by buildah, cached as archives."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nephos_dev import files
from nephos_dev.images.store import hash_file, hash_tree, inputs_key
from nephos_dev.images.tools import Tools
from nephos_dev.layout import WORK_TREE, cache_dir
from nephos_dev.progress import Progress

_SUITE = "bookworm"
_LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_BUSYBOX = Path("/usr/bin/busybox")
_SOURCES = ("crds", "node-agent")

_KEPT = 3  # of each kind: other work trees of this machine may be about to use theirs

# What an image has no use for; it would be half of the base's size.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")

_PAUSE_RECIPE = 'FROM scratch\nCOPY busybox /busybox\nENTRYPOINT ["/busybox", "sleep", "2147483647"]\n'


Build = Callable[[Path, Tools, Path], None]
"""Writes a file, the last argument; the folder, the first one, is its own to use."""


@dataclass(frozen=True, kw_only=True)
class ContainerImage:
    """An image's name, and the archive (Docker's format) that holds it."""

    name: str
    archive: Path


def agent_image(progress: Progress) -> ContainerImage:
    """Return the agent's image, built from the Dockerfile unless the cache has it for these sources.

    Raises ImageBuildError.
    """
    inputs = {
        "base": inputs_key(_base_inputs()),
        "dockerfile": hash_file(WORK_TREE / "Dockerfile"),
        "requirements": hash_file(WORK_TREE / "requirements.lock"),
        **{source: _hash_sources(WORK_TREE / source) for source in _SOURCES},
    }
    image = _image("agent", inputs)

    def build(folder: Path, tools: Tools, draft: Path) -> None:
        buildah = _Buildah(folder=folder, tools=tools)
        buildah.load_base(_ensure_base(progress))
        buildah.build(WORK_TREE, image.name, "--target=agent", f"--build-arg=BASE={_Buildah.BASE}")
        buildah.export(image.name, draft)

    _ensure(image.archive, build, progress)
    return image


def pause_image(progress: Progress) -> ContainerImage:
    """Return the image whose container holds a pod's namespaces. Raises ImageBuildError."""
    image = _image("pause", {"recipe": _PAUSE_RECIPE, "busybox": hash_file(_BUSYBOX)})

    def build(folder: Path, tools: Tools, draft: Path) -> None:
        buildah = _Buildah(folder=folder, tools=tools)
        context = folder / "pause"
        context.mkdir()
        shutil.copy(_BUSYBOX, context)
        (context / "Dockerfile").write_text(_PAUSE_RECIPE)
        buildah.build(context, image.name)
        buildah.export(image.name, draft)

    _ensure(image.archive, build, progress)
    return image


@dataclass(frozen=True, kw_only=True)
class _Buildah:
    """buildah with a store of its own, so that nothing of the machine's is touched."""

    BASE = "localhost/nephos-base:local"

    folder: Path
    tools: Tools

    def load_base(self, archive: Path) -> None:
        """Make the base image of a file system's archive."""
        context = self.folder / "base"
        context.mkdir()
        (context / "base.tar").hardlink_to(archive)
        (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        self.build(context, self.BASE)

    def build(self, context: Path, tag: str, *options: str) -> None:
        """Build the Dockerfile of a folder; its steps run in a chroot, in the machine's own network."""
        # Without a registry `--pull-never` is what makes a missing base an error that says so.
        self._run(
            "build", "--isolation=chroot", "--pull-never", "--format=docker", f"--tag={tag}", *options, str(context)
        )

    def export(self, tag: str, archive: Path) -> None:
        """Write an image and its name to an archive."""
        self._run("push", tag, f"docker-archive:{archive}:{tag}")

    def _run(self, command: str, *arguments: str) -> None:
        store = (f"--root={self.folder / 'store'}", f"--runroot={self.folder / 'run'}", "--storage-driver=vfs")
        self.tools.run(f"buildah {command} {arguments[-1]}", ["buildah", *store, command, *arguments])


def _ensure_base(progress: Progress) -> Path:
    """Return the archive of a minimal Debian that trusts what this machine trusts."""
    base = _folder() / f"base-{inputs_key(_base_inputs())[:16]}.tar"

    def build(_: Path, tools: Tools, draft: Path) -> None:
        tools.run("build a minimal Debian", ["mmdebstrap", *_base_options(), _SUITE, draft])

    _ensure(base, build, progress)
    return base


def _base_inputs() -> Mapping[str, str]:
    authorities = hash_tree(_LOCAL_AUTHORITIES) if _LOCAL_AUTHORITIES.is_dir() else ""
    return {"options": "\n".join(_base_options()), "authorities": authorities}


def _base_options() -> tuple[str, ...]:
    return (
        "--variant=apt",
        "--include=ca-certificates",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f"--customize-hook=copy-in {_LOCAL_AUTHORITIES} {_LOCAL_AUTHORITIES.parent}",
        '--customize-hook=chroot "$1" update-ca-certificates',
    )


def _hash_sources(folder: Path) -> str:
    """Hash a package's sources without what Python leaves beside them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return inputs_key({str(path.relative_to(folder)): hash_file(path) for path in files})


def _image(name: str, inputs: Mapping[str, str]) -> ContainerImage:
    archive = _folder() / f"{name}-{inputs_key(inputs)[:16]}.tar"
    return ContainerImage(name=f"localhost/nephos-{name}:local", archive=archive)


def _folder() -> Path:
    return cache_dir() / "container-images"


def _ensure(target: Path, build: Build, progress: Progress) -> None:
    """Make `target` unless it is there; of its kind only the latest stay."""
    kind = target.stem.rsplit("-", 1)[0]
    with files.locked(target.parent / f".{kind}.lock"):
        if target.is_file():
            return
        for left_behind in target.parent.glob(f".{kind}-*"):  # by a build that was killed
            shutil.rmtree(left_behind)
        log = target.parent / f"{kind}.log"
        log.unlink(missing_ok=True)
        progress.note(f"building container image {kind} (log: {log})")
        with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=target.parent) as folder:
            draft = Path(folder) / target.name
            build(Path(folder), Tools(log=log, report=progress.note), draft)
            draft.rename(target)
        for old in sorted(target.parent.glob(f"{kind}-*.tar"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink()
