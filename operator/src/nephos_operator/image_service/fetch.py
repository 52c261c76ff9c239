"""Brings an image's bytes into the store's partial file, going on where an earlier try ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientResponse
from pydantic import ValidationError
from yarl import URL

from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_operator.image_service import web
from nephos_operator.image_service.addresses import AddressPolicy
from nephos_operator.image_service.answers import Body, Complete, Note, Redirect, Restart, range_headers, read_answer
from nephos_operator.image_service.sources import check_redirect
from nephos_operator.image_service.store import Partial

_CHUNK_BYTES: Final = 1 << 20
_MOST_REDIRECTS: Final = 10
_PACE_AFTER_S: Final = 300.0
_PACE_BYTES_PER_S: Final = 16 << 10
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and those that there will be where that is known."""


@dataclass(frozen=True)
class Limits:
    """What no source may exceed."""

    size_bytes: int

    def check_size(self, size_bytes: int | None) -> None:
        """Raise ``PermanentFault`` for an image that is too large."""
        if size_bytes is not None and size_bytes > self.size_bytes:
            raise PermanentFault(
                f"the image is larger than the {self.size_bytes >> 30} GiB that this cloud takes", reason="TooLarge"
            )


@dataclass(frozen=True)
class Fetcher:
    """Fetches from permitted sources within limits."""

    policy: AddressPolicy
    limits: Limits

    async def fetch(self, source: URL, partial: Partial, note_path: Path, progress: Progress) -> None:
        """Complete the partial file from the web."""
        url = source
        for _ in range(_MOST_REDIRECTS + 1):
            redirect = await self._try(source, url, partial, note_path, progress)
            if redirect is None:
                return
            target = _join(url, redirect.location)
            check_redirect(url, target)
            url = target
        raise PermanentFault(f"the source redirects more than {_MOST_REDIRECTS} times", reason="SourceRefused")

    async def copy(self, path: Path, partial: Partial, progress: Progress) -> None:
        """Complete the partial file from a file of the cloud's operator; always from its start, it is near."""
        await asyncio.to_thread(partial.restart)
        with await asyncio.to_thread(path.open, "rb") as file:
            total_bytes = os.fstat(file.fileno()).st_size
            self.limits.check_size(total_bytes)
            partial.check_room(total_bytes)
            while chunk := await asyncio.to_thread(file.read, 4 * _CHUNK_BYTES):
                await asyncio.to_thread(partial.append, chunk)
                progress(partial.size, total_bytes)

    async def _try(
        self, source: URL, url: URL, partial: Partial, note_path: Path, progress: Progress
    ) -> Redirect | None:
        """Ask once for what is missing; None when it is all there."""
        note = await asyncio.to_thread(_read_note, note_path, source)
        headers = range_headers(partial.size, note)
        async with web.get(url, headers, self.policy) as response:
            answer = read_answer(response.status, response.headers, partial.size if headers else 0)
            match answer:
                case Redirect():
                    return answer
                case Body():
                    self.limits.check_size(answer.total_bytes)
                    if not answer.offset:
                        await asyncio.to_thread(_begin, partial, note_path, _note(source, response))
                    await self._receive(response, partial, answer.total_bytes, progress)
                    return None
                case Complete():
                    progress(partial.size, partial.size)
                    return None
                case Restart():
                    await asyncio.to_thread(note_path.unlink, missing_ok=True)
        raise TemporaryFault("the server can't go on where it was interrupted; beginning anew", reason="SourceChanged")

    async def _receive(
        self, response: ClientResponse, partial: Partial, total_bytes: int | None, progress: Progress
    ) -> None:
        started, had = time.monotonic(), partial.size
        if total_bytes is not None:
            partial.check_room(total_bytes)
        progress(partial.size, total_bytes)
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            self.limits.check_size(partial.size + len(chunk))
            await asyncio.to_thread(partial.append, chunk)
            progress(partial.size, total_bytes)
            elapsed_s = time.monotonic() - started
            if elapsed_s > _PACE_AFTER_S and (partial.size - had) / elapsed_s < _PACE_BYTES_PER_S:
                raise TemporaryFault("the source delivers too slowly", reason="SourceTooSlow")
        if total_bytes is not None and partial.size != total_bytes:
            raise TemporaryFault("the source ended before all of it was here", reason="SourceUnavailable")


def _join(url: URL, location: str) -> URL:
    try:
        return url.join(URL(location))
    except ValueError as error:
        raise PermanentFault("the source redirects to what is no URL", reason="SourceRefused") from error


def _note(source: URL, response: ClientResponse) -> Note:
    return Note(
        url=str(source),
        boot_id=_BOOT_ID.read_text().strip(),
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
    )


def _begin(partial: Partial, note_path: Path, note: Note) -> None:
    """Drop what is there, then note what comes: never the other way round."""
    partial.restart()
    note_path.write_text(note.model_dump_json())


def _read_note(note_path: Path, source: URL) -> Note | None:
    """Return the note, or None where what is there can't be gone on with."""
    with suppress(FileNotFoundError, ValidationError):
        note = Note.model_validate_json(note_path.read_text())
        if note.url == str(source) and note.boot_id == _BOOT_ID.read_text().strip():
            return note
    return None
