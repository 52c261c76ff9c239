"""The scripts inside the guest image `tiny` understand what the cloud hands them."""

import json
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Any

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


def test_addresses_that_nobody_tells_are_read_from_the_metadata() -> None:
    routes = [{"network": "::", "netmask": "::", "gateway": "fd00:3::1"}]
    networks = [
        {"type": "ipv4_dhcp", "link": "tap1", "ip_address": "10.1.0.8", "netmask": "255.255.255.0"},
        {"type": "ipv4", "link": "tap2", "ip_address": "10.40.0.9", "netmask": "255.255.240.0", "routes": []},
        {
            "type": "ipv6",
            "link": "tap2",
            "ip_address": "fd00:3::9",
            "netmask": "ffff:ffff:ffff:fffc::",
            "routes": routes,
        },
    ]
    links = [{"id": "tap1", "ethernet_mac_address": "m1"}, {"id": "tap2", "ethernet_mac_address": "m2"}]
    document = {"links": links, "networks": networks, "services": [{"type": "dns", "address": "9.9.9.9"}]}
    assert _static(document) == [
        "m2 address 10.40.0.9/20",
        "m2 address fd00:3::9/62",
        "m2 route ::/0 fd00:3::1",
        "- resolver 9.9.9.9",
    ]
    assert _static(document | {"networks": networks[:1]}) == []
    assert _static({}) == []


@given(st.integers(0, 32), st.integers(0, 128))
def test_a_netmask_is_read_as_its_length(ipv4_bits: int, ipv6_bits: int) -> None:
    masks = (ip_network(f"0.0.0.0/{ipv4_bits}").netmask, ip_network(f"::/{ipv6_bits}").netmask)
    networks = [{"type": "ipv4", "link": "t", "ip_address": "a", "netmask": str(mask)} for mask in masks]
    found = _static({"links": [{"id": "t", "ethernet_mac_address": "m"}], "networks": networks})
    assert found == [f"m address a/{ipv4_bits}", f"m address a/{ipv6_bits}"]


def _static(document: dict[str, Any]) -> list[str]:
    flat = subprocess.run(
        [*_AWK, "-f", str(_BOOT / "json.awk")], input=json.dumps(document), capture_output=True, text=True, check=True
    )
    done = subprocess.run(
        [*_AWK, "-f", str(_BOOT / "static.awk")], input=flat.stdout, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("document", ["", "{", '{"a', '{"a":', "[1,", "not json"])
def test_broken_metadata_ends_and_harms_nothing(document: str) -> None:
    subprocess.run([*_AWK, "-f", str(_BOOT / "json.awk")], input=document, text=True, timeout=5, check=True)
