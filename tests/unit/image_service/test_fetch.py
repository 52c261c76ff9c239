"""Fetching from a real web server: whole, in pieces, and from where it must not."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_operator.image_service.addresses import AddressPolicy, parse_networks
from nephos_operator.image_service.fetch import Fetcher, Limits
from nephos_operator.image_service.store import Partial, Store, full_disk_is_a_fault

ALLOWED = AddressPolicy(allowed=parse_networks("127.0.0.1/32"))
ROOMY = Limits(size_bytes=1 << 40)
UID = "uid-1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.prepare()
    return store


@pytest.fixture
def partial(store: Store) -> Iterator[Partial]:
    partial = store.open_partial(UID)
    yield partial
    partial.close()


def ignore(_fetched_bytes: int, _total_bytes: int | None) -> None:
    pass


async def fetch(store: Store, partial: Partial, url: str, fetcher: Fetcher = Fetcher(ALLOWED, ROOMY)) -> None:  # noqa: B008  # why: frozen
    await fetcher.fetch(URL(url), partial, store.note_path(UID), ignore)


async def test_an_image_comes_whole_with_its_hash_and_progress(store: Store, partial: Partial, web_server: Any) -> None:
    heard: list[tuple[int, int | None]] = []
    await Fetcher(ALLOWED, ROOMY).fetch(
        URL(web_server.url()), partial, store.note_path(UID), lambda *what: heard.append(what)
    )
    assert store.partial_path(UID).read_bytes() == web_server.content
    assert partial.sha256 == hashlib.sha256(web_server.content).hexdigest()
    assert heard[0] == (0, len(web_server.content))
    assert heard[-1] == (len(web_server.content), len(web_server.content))


async def test_an_interrupted_fetch_goes_on_where_it_was(store: Store, partial: Partial, web_server: Any) -> None:
    web_server.break_after = 1 << 20
    kept = []
    while partial.size < len(web_server.content):
        kept.append(partial.size)
        with suppress(TemporaryFault):
            await fetch(store, partial, web_server.url())
    assert store.partial_path(UID).read_bytes() == web_server.content
    assert len(kept) > 1
    assert kept == sorted(set(kept)), "a try did not add to what was there"
    assert web_server.requests == ["", *(f"bytes={size}-" for size in kept[1:])]


async def test_a_source_that_changed_meanwhile_is_fetched_anew(store: Store, partial: Partial, web_server: Any) -> None:
    web_server.break_after = 1 << 20
    with pytest.raises(TemporaryFault):
        await fetch(store, partial, web_server.url())
    web_server.break_after, web_server.etag = None, '"2"'
    web_server.content = bytes(reversed(web_server.content))
    await fetch(store, partial, web_server.url())
    assert store.partial_path(UID).read_bytes() == web_server.content


async def test_what_another_boot_left_is_fetched_anew(store: Store, partial: Partial, web_server: Any) -> None:
    web_server.break_after = 1 << 20
    with pytest.raises(TemporaryFault):
        await fetch(store, partial, web_server.url())
    note = store.note_path(UID)
    note.write_text(note.read_text().replace('"boot_id":"', '"boot_id":"before-'))
    web_server.break_after = None
    await fetch(store, partial, web_server.url())
    assert web_server.requests == ["", ""]


async def test_an_image_that_is_complete_already_is_not_fetched_again(
    store: Store, partial: Partial, web_server: Any
) -> None:
    await fetch(store, partial, web_server.url())
    await fetch(store, partial, web_server.url())
    assert web_server.requests == ["", f"bytes={len(web_server.content)}-"]
    assert store.partial_path(UID).read_bytes() == web_server.content


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{port}/image", "ForbiddenAddress"),
        ("http://localhost:{port}/image", "ForbiddenAddress"),
        ("http://[::1]:{port}/image", "ForbiddenAddress"),
        ("http://[::ffff:127.0.0.1]:{port}/image", "ForbiddenAddress"),
        ("http://169.254.169.254/latest/meta-data", "ForbiddenAddress"),
        ("http://10.96.0.1/", "ForbiddenAddress"),
        ("http://0.0.0.0:{port}/image", "ForbiddenAddress"),
        ("http://2130706433:{port}/image", "InvalidURL"),
        ("http://127.1:{port}/image", "InvalidURL"),
    ],
)
async def test_no_connection_is_made_to_a_forbidden_address(
    store: Store, partial: Partial, web_server: Any, url: str, reason: str
) -> None:
    with pytest.raises(PermanentFault) as raised:
        await fetch(store, partial, url.format(port=web_server.port), Fetcher(AddressPolicy(), ROOMY))
    assert raised.value.reason == reason
    assert web_server.requests == []


async def test_a_name_that_resolves_elsewhere_at_its_use_is_still_refused(
    store: Store, partial: Partial, web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name's first answer is harmless, the one that is connected to is not."""
    answers = iter(["93.184.216.34"])

    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        address = next(answers, "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, web_server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert socket.getaddrinfo("rebinding.example", 80)[0][4][0] == "93.184.216.34"
    with pytest.raises(PermanentFault) as raised:
        await fetch(
            store, partial, f"http://rebinding.example:{web_server.port}/image", Fetcher(AddressPolicy(), ROOMY)
        )
    assert raised.value.reason == "ForbiddenAddress"
    assert web_server.requests == []


async def test_a_redirect_is_followed(store: Store, partial: Partial, web_server: Any) -> None:
    await fetch(store, partial, web_server.url("/redirect?to=/image"))
    assert store.partial_path(UID).read_bytes() == web_server.content


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/", "ForbiddenAddress"),
        ("http://localhost6.example.invalid/", "NameNotResolved"),
        ("http://127.0.0.2/", "ForbiddenAddress"),
        ("file:///etc/passwd", "ForbiddenSource"),
        ("ftp://a.example/", "ForbiddenSource"),
    ],
)
async def test_a_redirect_leads_nowhere_that_a_source_may_not_be(
    store: Store, partial: Partial, web_server: Any, target: str, reason: str
) -> None:
    with pytest.raises((PermanentFault, TemporaryFault)) as raised:
        await fetch(store, partial, web_server.url(f"/redirect?to={target}"))
    assert getattr(raised.value, "reason") == reason  # noqa: B009  # why: two classes have it, their base does not


async def test_a_circle_of_redirects_ends(store: Store, partial: Partial, web_server: Any) -> None:
    circle = web_server.url("/redirect?to=%2Fredirect%3Fto%3D%252Fimage")
    await fetch(store, partial, circle)
    endless = "/image"
    for _ in range(12):
        endless = f"/redirect?to={endless.replace('%', '%25').replace('?', '%3F').replace('=', '%3D')}"
    with pytest.raises(PermanentFault) as raised:
        await fetch(store, partial, web_server.url(endless))
    assert raised.value.reason == "SourceRefused"


@pytest.mark.parametrize(("status", "kind"), [(404, PermanentFault), (410, PermanentFault), (503, TemporaryFault)])
async def test_a_refusing_server_is_told_apart_from_a_tired_one(
    store: Store, partial: Partial, web_server: Any, status: int, kind: type[Exception]
) -> None:
    web_server.status = status
    with pytest.raises(kind):
        await fetch(store, partial, web_server.url())


async def test_a_server_that_is_not_there_is_worth_another_try(store: Store, partial: Partial, web_server: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(TemporaryFault) as raised:
            await fetch(store, partial, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert raised.value.reason == "SourceUnavailable"


async def test_an_image_that_is_too_large_is_not_begun(store: Store, partial: Partial, web_server: Any) -> None:
    with pytest.raises(PermanentFault) as raised:
        await fetch(store, partial, web_server.url(), Fetcher(ALLOWED, Limits(size_bytes=1000)))
    assert raised.value.reason == "TooLarge"
    assert partial.size == 0


async def test_an_image_that_does_not_fit_on_the_disk_is_not_begun(
    store: Store, partial: Partial, web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 1, 1, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _descriptor: full)
    with pytest.raises(TemporaryFault) as raised:
        await fetch(store, partial, web_server.url())
    assert raised.value.reason == "StoreFull"
    assert partial.size == 0


def test_a_disk_that_fills_up_is_said() -> None:
    with pytest.raises(TemporaryFault) as raised, full_disk_is_a_fault():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.reason == "StoreFull"


async def test_a_local_file_is_copied(store: Store, partial: Partial, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"image" * 1_000_000)
    await Fetcher(ALLOWED, ROOMY).copy(source, partial, ignore)
    assert store.partial_path(UID).read_bytes() == source.read_bytes()


async def test_two_replicas_never_write_the_same_file(store: Store, partial: Partial) -> None:
    with pytest.raises(TemporaryFault) as raised:
        await asyncio.to_thread(store.open_partial, UID)
    assert raised.value.reason == "Busy"
    partial.close()
    store.open_partial(UID).close()
