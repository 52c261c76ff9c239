"""What a source's URL may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from yarl import URL

from nephos_api.errors import PermanentFault
from nephos_operator.image_service.sources import check_redirect, confine, parse_source


@pytest.mark.parametrize("url", ["http://images.example/a.qcow2", "https://images.example:8443/a?b=c"])
def test_web_addresses_are_taken_from_any_namespace(url: str) -> None:
    assert parse_source(url, "demo") == URL(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///images/a.qcow2", "ForbiddenSource"),
        ("ftp://images.example/a", "InvalidURL"),
        ("gopher://127.0.0.1/", "InvalidURL"),
        ("http:///a", "InvalidURL"),
        ("http://[::1/a", "InvalidURL"),
        ("/etc/passwd", "InvalidURL"),
    ],
)
def test_everything_else_is_refused(url: str, reason: str) -> None:
    with pytest.raises(PermanentFault) as raised:
        parse_source(url, "demo")
    assert raised.value.reason == reason


def test_files_are_for_the_catalog() -> None:
    assert parse_source("file:///images/a%20b.qcow2", "nephos-catalog") == Path("/images/a b.qcow2")


@pytest.mark.parametrize(
    ("origin", "target", "is_refused"),
    [
        ("http://a.example/", "http://b.example/", False),
        ("http://a.example/", "https://b.example/", False),
        ("https://a.example/", "https://b.example/", False),
        ("https://a.example/", "http://a.example/", True),
        ("https://a.example/", "file:///etc/passwd", True),
        ("http://a.example/", "ftp://b.example/", True),
    ],
)
def test_a_redirect_stays_in_the_web_and_does_not_give_up_encryption(
    origin: str, target: str, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(PermanentFault):
            check_redirect(URL(origin), URL(target))
    else:
        check_redirect(URL(origin), URL(target))


def test_a_file_is_confined_to_the_configured_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "secret"
    (root / "sub").mkdir(parents=True)
    outside.write_text("secret")
    (root / "sub/a.qcow2").write_text("image")
    (root / "inside").symlink_to(root / "sub/a.qcow2")
    (root / "link").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)

    assert confine(root / "sub/a.qcow2", root) == root / "sub/a.qcow2"
    assert confine(root / "inside", root) == root / "sub/a.qcow2"
    for path in (outside, root / "link", root / "folder/secret", root / "../secret", root / "sub/../../secret"):
        with pytest.raises(PermanentFault) as raised:
            confine(path, root)
        assert raised.value.reason == "ForbiddenSource"
    for path in (root / "missing", root / "sub"):
        with pytest.raises(PermanentFault) as raised:
            confine(path, root)
        assert raised.value.reason == "SourceGone"


def test_without_a_configured_folder_there_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(PermanentFault):
        confine(tmp_path, None)
