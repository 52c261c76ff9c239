"""The scripts inside the guest image `tiny` understand what the cloud hands them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_dev.images.sources import guest_files

_BOOT = guest_files("tiny") / "rootfs/etc/boot"
_SCRIPTS = sorted(path for path in _BOOT.iterdir() if path.suffix != ".awk")
_AWK = ["busybox", "awk"] if shutil.which("busybox") else ["awk"]


def _flatten(document: str) -> dict[str, str]:
    done = subprocess.run(
        [*_AWK, "-f", str(_BOOT / "json.awk")], input=document, capture_output=True, text=True, check=True
    )
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_executable_and_parse(script: Path) -> None:
    assert script.stat().st_mode & 0o100
    subprocess.run(["/bin/sh", "-n", str(script)], check=True)


def test_metadata_is_flattened_to_paths() -> None:
    metadata = {
        "uuid": "u",
        "public_keys": {"a": "ssh-ed25519 AAAA a@b\n", "b": "ssh-rsa BBBB"},
        "keys": [{"name": "a", "type": "ssh"}, {"name": "b"}],
        "launch_index": 0,
        "meta": {},
        "devices": [],
        "admin": None,
        "hostname": "one.first",
    }
    for indent in (None, 2):
        assert _flatten(json.dumps(metadata, indent=indent)) == {
            "uuid": "u",
            "public_keys.a": "ssh-ed25519 AAAA a@b ",
            "public_keys.b": "ssh-rsa BBBB",
            "keys.0.name": "a",
            "keys.0.type": "ssh",
            "keys.1.name": "b",
            "launch_index": "0",
            "admin": "null",
            "hostname": "one.first",
        }


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_any_printable_text_comes_through(text: str) -> None:
    assert _flatten(json.dumps({"before": text, "after": "x"})) == {"before": text, "after": "x"}


@pytest.mark.parametrize("document", ["", "{", '{"a', '{"a":', "[1,", "not json"])
def test_broken_metadata_ends_and_harms_nothing(document: str) -> None:
    subprocess.run([*_AWK, "-f", str(_BOOT / "json.awk")], input=document, text=True, timeout=5, check=True)
