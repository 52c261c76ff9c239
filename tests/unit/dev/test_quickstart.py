"""What `make demo` applies, and what it asks."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_dev import quickstart
from nephos_dev.layout import Layout
from nephos_dev.quickstart import Addresses, Exchange
from nephos_dev.ssh import render_settings
from nephos_dev.waiting import NotYet

LAYOUT = Layout(name="nephos", slot=3, cloud_id="0b1f6a52-2b0c-4c0e-9a55-6d7a0c8f3e11", cache=Path("/cache"))
KNOWN = Addresses(second="10.10.0.5", floating="203.0.113.11", router="203.0.113.10")


def active() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the example's objects as they are in the end."""
    external = {"addresses": [{"address": "2001:db8:113::a"}, {"address": "203.0.113.10"}]}
    return {
        ("Server", "web-2"): {"status": {"addresses": [{"address": "10.10.0.5"}]}},
        ("Router", "edge"): {"status": {"external": external}},
        ("FloatingIP", "web"): {"status": {"address": "203.0.113.11"}},
    }


def test_the_example_is_applied_as_it_is_but_for_the_key() -> None:
    written = list(yaml.safe_load_all(quickstart.EXAMPLE.read_text()))
    applied = list(quickstart.objects("ssh-ed25519 AAAA me"))
    (key,) = [document for document in applied if document["kind"] == "KeyPair"]
    assert key["spec"]["publicKey"] == "ssh-ed25519 AAAA me"
    others = [[document for document in side if document["kind"] != "KeyPair"] for side in (written, applied)]
    assert others[0] == others[1]


def test_the_outside_sees_the_routers_ipv4_address() -> None:
    assert quickstart.addresses(active()) == KNOWN


@pytest.mark.parametrize("lacking", [("Server", "web-2"), ("Router", "edge"), ("FloatingIP", "web")])
def test_an_object_without_its_address_is_waited_for(lacking: tuple[str, str]) -> None:
    with pytest.raises(NotYet):
        quickstart.addresses({**active(), lacking: {"status": {"phase": "Active"}}})


def test_what_is_not_active_says_why() -> None:
    ready = {"type": "Ready", "status": "False", "message": "waits for Network blue"}
    assert quickstart.describe({}) == "accepted"
    assert quickstart.describe({"status": {"phase": "Active", "host": "h1", "conditions": [ready]}}) == "Active on h1"
    waiting = {"status": {"phase": "Build", "conditions": [ready]}}
    assert quickstart.describe(waiting) == "Build: waits for Network blue"


def test_guests_and_the_outside_are_asked_and_paths_are_shown_short() -> None:
    asked = quickstart.questions(LAYOUT, KNOWN)
    assert {question.asked for question in asked} == {"web-1", "web-2", quickstart.OUTSIDE}
    lines = quickstart.show(LAYOUT, [Exchange(question=question, output="yes") for question in asked])
    assert "internet# ssh -F .nephos/ssh/config -o BatchMode=yes 203.0.113.11 hostname" in lines
    assert lines[-1] == "yes"


def test_ssh_takes_the_clouds_key_alone_even_below_a_folder_with_a_space() -> None:
    assert '  IdentityFile "/my work/.nephos/ssh/ops"\n' in render_settings(Path("/my work/.nephos/ssh/ops"))
