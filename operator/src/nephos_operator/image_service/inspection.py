"""Looks into an image that nobody trusts: qemu-img under limits, without a network."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.image import ImageFormat
from nephos_operator.image_service import formats
from nephos_operator.image_service.qemu_info import Found, OutsideReference, parse

_TIMEOUT_S: Final = 30.0
_LIMITS: Final = ("prlimit", "--cpu=20", "--as=1073741824", "--fsize=0", "--core=0", "--nofile=64", "--")
_NAMESPACES: Final = ("unshare", "--user", "--net", "--ipc", "--")
log = structlog.get_logger(__name__)


def check_declared(declared: ImageFormat, found: Found, head: bytes) -> None:
    """Raise ``PermanentFault`` where the image is not of the format that its spec declares."""
    if declared is ImageFormat.ISO and found.format is ImageFormat.RAW and formats.is_iso(head):
        return
    if found.format is not declared:
        raise PermanentFault(
            f"spec.format is {declared.value}, but the file is {found.format.value}; make a new Image that says so",
            reason="FormatMismatch",
        )


@dataclass(frozen=True)
class Inspector:
    """Runs qemu-img; ``namespaces`` says whether the kernel lets us give it namespaces of its own."""

    namespaces: bool

    @classmethod
    async def detect(cls) -> Inspector:
        """Return an inspector that isolates as well as this machine can."""
        code, _, errors = await _run((*_NAMESPACES, "true"))
        if code:
            log.warning("qemu-img runs without namespaces of its own", why=errors.decode(errors="replace").strip())
        return cls(namespaces=code == 0)

    async def inspect(self, path: Path, declared: ImageFormat) -> Found:
        """Return what the file at that absolute path is. Raises ``PermanentFault`` where it is unusable or lies."""
        head, tail = await asyncio.to_thread(_ends, path)
        if reference := formats.outside_reference(head):
            raise OutsideReference(reference)
        fixed_vhd = declared is ImageFormat.VHD and formats.is_fixed_vhd(tail)
        found = parse(await self._qemu_img(path, "vpc" if fixed_vhd else None))
        check_declared(declared, found, head)
        return found

    async def _qemu_img(self, path: Path, driver: str | None) -> bytes:
        named = ("-f", driver) if driver else ()
        command = (*_LIMITS, "qemu-img", "info", "--output=json", *named, str(path))
        try:
            code, answer, errors = await _run((*_NAMESPACES, *command) if self.namespaces else command)
        except TimeoutError as error:
            raise PermanentFault("looking into the image takes too long", reason="Unreadable") from error
        except FileNotFoundError as error:
            raise TemporaryFault(f"{error.filename} is not installed", reason="ToolMissing") from error
        if code:
            sentence = errors.decode(errors="replace").replace(str(path), "the image").strip()[-300:]
            raise PermanentFault(f"qemu-img can't read the image: {sentence}", reason="Unreadable")
        return answer


async def _run(command: tuple[str, ...]) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            answer, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, answer, errors


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(formats.HEAD_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - formats.TAIL_BYTES))
        return head, file.read(formats.TAIL_BYTES)
