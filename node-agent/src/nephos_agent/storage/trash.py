"""Folders of orphans: they wait a week for somebody to miss them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from nephos_agent.storage.durable import sync_folder
from nephos_agent.storage.folder import remove_folder

KEPT_S: Final = 7 * 24 * 3600.0
log = structlog.get_logger(__name__)


def put(trash: Path, folder: Path, now: float) -> None:
    """Move a folder to the trash; ``now`` in seconds since the epoch says when it came."""
    folder.rename(trash / f"{folder.name}.{int(now)}")
    sync_folder(folder.parent)


def find(trash: Path, name: str) -> Iterator[Path]:
    """Yield the folders of that name in the trash, the latest first."""
    found = {folder: came_at for folder in trash.glob(f"{name}.*") if (came_at := _came_at(folder)) is not None}
    yield from sorted(found, key=lambda folder: found[folder], reverse=True)


def restore(trash: Path, folder: Path) -> None:
    """Bring the latest folder of that name back to its place, if there is one and the place is free."""
    trashed = None if folder.exists() else next(find(trash, folder.name), None)
    if trashed:
        log.info("disk brought back from the trash", server_uid=folder.name)
        trashed.rename(folder)


def empty(trash: Path, now: float) -> None:
    """Remove what came more than a week ago."""
    for folder in trash.iterdir():
        came_at = _came_at(folder)
        if came_at is not None and now - came_at > KEPT_S:
            log.info("disk removed from the trash", folder=folder.name)
            remove_folder(folder)


def _came_at(folder: Path) -> int | None:
    """Return when the folder came, in seconds since the epoch; None for what we did not put there."""
    seconds = folder.suffix.removeprefix(".")
    return int(seconds) if seconds.isdecimal() else None
