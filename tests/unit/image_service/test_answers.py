"""What the answers of web servers lead to."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from nephos_api.errors import NephosError, PermanentFault, TemporaryFault
from nephos_operator.image_service.answers import (
    Body,
    Complete,
    Note,
    Redirect,
    Restart,
    range_headers,
    read_answer,
)


@pytest.mark.parametrize(
    ("status", "headers", "asked_from", "meaning"),
    [
        (200, {"content-length": "10"}, 0, Body(0, 10)),
        (200, {}, 0, Body(0, None)),
        (200, {"Content-Length": "many"}, 0, Body(0, None)),
        (200, {"Content-Length": "10"}, 5, Body(0, 10)),
        (206, {"Content-Range": "bytes 5-9/10"}, 5, Body(5, 10)),
        (206, {"Content-Range": "bytes 5-9/*"}, 5, Body(5, None)),
        (206, {"Content-Range": "bytes 0-9/10"}, 5, Restart()),
        (206, {}, 5, Restart()),
        (416, {"Content-Range": "bytes */5"}, 5, Complete()),
        (416, {"Content-Range": "bytes */4"}, 5, Restart()),
        (416, {}, 5, Restart()),
        (302, {"Location": "/b"}, 0, Redirect("/b")),
        (308, {"Location": "https://b.example/"}, 5, Redirect("https://b.example/")),
    ],
)
def test_an_answer_means(
    status: int, headers: dict[str, str], asked_from: int, meaning: Body | Complete | Redirect | Restart
) -> None:
    assert read_answer(status, CIMultiDict(headers), asked_from) == meaning


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (404, PermanentFault, "SourceGone"),
        (410, PermanentFault, "SourceGone"),
        (401, PermanentFault, "SourceForbidden"),
        (403, PermanentFault, "SourceForbidden"),
        (400, PermanentFault, "SourceRefused"),
        (206, PermanentFault, "SourceRefused"),
        (304, PermanentFault, "SourceRefused"),
        (302, PermanentFault, "SourceRefused"),
        (408, TemporaryFault, "SourceUnavailable"),
        (429, TemporaryFault, "SourceUnavailable"),
        (500, TemporaryFault, "SourceUnavailable"),
        (503, TemporaryFault, "SourceUnavailable"),
    ],
)
def test_another_try_is_made_only_where_it_can_help(status: int, kind: type[NephosError], reason: str) -> None:
    with pytest.raises(kind) as raised:
        read_answer(status, CIMultiDict(), 0)
    assert getattr(raised.value, "reason") == reason  # noqa: B009  # why: two classes have it, their base does not


@pytest.mark.parametrize(
    ("size", "note", "headers"),
    [
        (0, Note(url="u", boot_id="b", etag='"1"'), {}),
        (5, None, {}),
        (5, Note(url="u", boot_id="b"), {}),
        (5, Note(url="u", boot_id="b", etag='"1"'), {"Range": "bytes=5-", "If-Range": '"1"'}),
        (5, Note(url="u", boot_id="b", etag='W/"1"'), {}),
        (
            5,
            Note(url="u", boot_id="b", etag='W/"1"', last_modified="Sat, 21 Nov 2026 14:00:00 GMT"),
            {"Range": "bytes=5-", "If-Range": "Sat, 21 Nov 2026 14:00:00 GMT"},
        ),
    ],
)
def test_the_rest_is_asked_for_only_of_the_very_same_version(
    size: int, note: Note | None, headers: dict[str, str]
) -> None:
    assert range_headers(size, note) == headers
