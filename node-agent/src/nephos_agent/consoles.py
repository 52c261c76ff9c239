"""Logs of the guests' serial consoles: QEMU appends, the agent keeps them small."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

_FULL_BYTES: Final = 1 << 20
_SUFFIX: Final = ".log"


class Consoles:
    """One file a Server, and one older one beside it once it was full."""

    def __init__(self, folder: Path, *, full_bytes: int = _FULL_BYTES) -> None:
        self._folder = folder
        self._full_bytes = full_bytes

    def path(self, server_uid: str) -> Path:
        """Return where QEMU writes the Server's console."""
        return self._folder / f"{server_uid}{_SUFFIX}"

    async def delete(self, server_uid: str) -> None:
        """Delete the Server's logs."""
        await asyncio.to_thread(self._delete, server_uid)

    async def rotate(self) -> None:
        """Copy every full log aside and cut it to nothing; QEMU has it open for appending, so it starts at the front.

        What the guest says between copy and cut is lost.
        """
        await asyncio.to_thread(self._rotate)

    def _delete(self, server_uid: str) -> None:
        path = self.path(server_uid)
        path.unlink(missing_ok=True)
        _older(path).unlink(missing_ok=True)

    def _rotate(self) -> None:
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.stat().st_size >= self._full_bytes:
                shutil.copy(path, _older(path))  # with its mode: what a guest says is its tenant's
                with path.open("r+b") as log:
                    log.truncate(0)


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
