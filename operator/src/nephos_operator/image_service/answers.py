"""What a web server's answer to a request for an image means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nephos_api.errors import NephosError, PermanentFault, TemporaryFault
from nephos_api.model import ApiModel

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d*/(\d+|\*)")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
_GONE: Final = frozenset({404, 410})
_LOCKED: Final = frozenset({401, 403, 407})


class Note(ApiModel):
    """Of what version of a source a part was fetched, so that the rest can be asked for."""

    url: str
    boot_id: str
    """The boot in which the part was written: after a power cut it may have holes."""
    etag: str | None = None
    last_modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` takes: a strong entity tag, or a date (RFC 9110, 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


@dataclass(frozen=True)
class Redirect:
    """The image is elsewhere."""

    location: str


@dataclass(frozen=True)
class Body:
    """The image, from that byte on."""

    offset: int
    total_bytes: int | None
    """None where the server does not say."""


@dataclass(frozen=True)
class Complete:
    """There is nothing missing."""


@dataclass(frozen=True)
class Restart:
    """The rest can't be had; begin anew."""


def range_headers(size: int, note: Note | None) -> dict[str, str]:
    """Return the headers that ask for what is missing after ``size`` bytes; none where all must be asked for."""
    if not size or note is None or note.validator is None:
        return {}
    return {"Range": f"bytes={size}-", "If-Range": note.validator}


def read_answer(status: int, headers: Mapping[str, str], asked_from: int) -> Redirect | Body | Complete | Restart:
    """Return what the answer to a request for the bytes from ``asked_from`` on means.

    Raises ``TemporaryFault`` where another try can help, ``PermanentFault`` where it can't.
    """
    if status == 200:
        return Body(0, _length(headers))
    if status in _REDIRECTS and "Location" in headers:
        return Redirect(headers["Location"])
    if status == 206 and asked_from:
        part = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if part and int(part[1]) == asked_from:
            return Body(asked_from, None if part[2] == "*" else int(part[2]))
        return Restart()
    if status == 416 and asked_from:
        return Complete() if headers.get("Content-Range") == f"bytes */{asked_from}" else Restart()
    raise _fault(status)


def _length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _fault(status: int) -> NephosError:
    if status in _GONE:
        return PermanentFault(
            f"there is nothing at spec.source.url (the server answers {status}); make a new Image with a good one",
            reason="SourceGone",
        )
    if status in _LOCKED:
        return PermanentFault(
            f"the server of spec.source.url refuses access ({status}); images need a URL without a login",
            reason="SourceForbidden",
        )
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return TemporaryFault(f"the server of spec.source.url answers {status}", reason="SourceUnavailable")
    return PermanentFault(f"the server of spec.source.url answers {status}", reason="SourceRefused")
