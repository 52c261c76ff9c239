"""The mark of a server's folder: whose it is, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from nephos_agent.storage.durable import write_durably
from nephos_api.model import ApiModel

MARK_NAME: Final = "mark.json"


class Mark(ApiModel):
    """Says that a folder belongs to a Server of a cloud. What carries no mark, or another cloud's, is not ours."""

    cloud_id: str
    server_uid: str
    namespace: str = ""
    server_name: str = ""
    size_gib: int = 0
    """Size of the root disk; 0 while there is none."""
    image_sha256: str = ""
    """Content that the root disk lies on."""
    config_drive_digest: str = ""
    """What the config drive was made from."""


def parse_mark(text: str | bytes) -> Mark | None:
    """Return the mark, or None where the text is none."""
    try:
        return Mark.model_validate_json(text)
    except ValidationError:
        return None


def read_mark(folder: Path) -> Mark | None:
    """Return the mark of a folder, or None where it carries none that can be read."""
    try:
        return parse_mark((folder / MARK_NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_mark(folder: Path, mark: Mark) -> None:
    """Write the mark; it survives a power cut once this returns."""
    write_durably(folder / MARK_NAME, mark.model_dump_json(by_alias=True).encode())
