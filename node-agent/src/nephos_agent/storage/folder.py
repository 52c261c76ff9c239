"""A server's folder and its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from nephos_agent.storage.durable import partial_of
from nephos_agent.storage.mark import MARK_NAME


def is_bare(folder: Path) -> bool:
    """Tell whether nothing is in the folder, or a mark that was not finished: nobody's data."""
    try:
        return {path.name for path in folder.iterdir()} <= {partial_of(folder / MARK_NAME).name}
    except (FileNotFoundError, NotADirectoryError):
        return False


def remove_folder(folder: Path) -> None:
    """Remove a marked folder, its mark last: what a crash leaves is still known as ours."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK_NAME:
            path.unlink(missing_ok=True)
    (folder / MARK_NAME).unlink(missing_ok=True)
    folder.rmdir()
