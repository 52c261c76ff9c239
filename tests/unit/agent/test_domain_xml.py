"""What a guest's machine is made of, as libvirt is told; compared with files that people read in review."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nephos_agent.compute import mark
from nephos_agent.compute.domain_xml import NAMESPACE, Platform, domain_name, render
from nephos_agent.compute.protocol import DomainSpec, NicSpec, spec_hash
from nephos_api.resources.host import HypervisorType

GOLDEN = Path(__file__).parent / "golden"
SPEC = DomainSpec(
    server_uid="0b8d3b1c-54a1-4d8e-9d5e-3a7f5a3c1e01",
    server_name="web-1",
    namespace="demo",
    cloud_id="6b1f0a52-6a3f-4a52-9a5e-7a1f2f0c1d11",
    placement_epoch=3,
    vcpus=2,
    memory_mib=512,
    disk=Path("/var/lib/nephos/servers/0b8d3b1c/disk.qcow2"),
    config_drive=None,
    console_log=Path("/var/lib/nephos/consoles/0b8d3b1c.log"),
    nics=(NicSpec("tap0123456789a", "52:54:00:aa:bb:cc", 1450),),
)
TCG = Platform(HypervisorType.TCG, Path("/run/nephos/vnc"), "0.1.0")
KVM = replace(TCG, hypervisor=HypervisorType.KVM)
CASES = {
    "tcg": (SPEC, TCG),
    "kvm-two-nics-config-drive": (
        replace(
            SPEC,
            config_drive=Path("/var/lib/nephos/servers/0b8d3b1c/config.iso"),
            nics=(*SPEC.nics, NicSpec("tapba987654321", "52:54:00:dd:ee:ff", 9000)),
        ),
        KVM,
    ),
    "uefi": (replace(SPEC, firmware="UEFI", nics=()), TCG),
    "pc": (replace(SPEC, machine_type="pc"), TCG),
}


@pytest.mark.parametrize("name", CASES)
def test_the_machine_is_as_reviewed(name: str) -> None:
    assert render(*CASES[name]) == (GOLDEN / f"{name}.xml").read_text()


def test_the_mark_says_whose_the_domain_is() -> None:
    root = ET.fromstring(render(SPEC, TCG))  # noqa: S314  # why: our own text
    element = root.find(f"metadata/{{{NAMESPACE}}}server")
    assert element is not None
    assert mark.parse(ET.tostring(element, encoding="unicode")) == mark.Mark(
        cloud_id=SPEC.cloud_id,
        server_uid=SPEC.server_uid,
        namespace="demo",
        server_name="web-1",
        placement_epoch=3,
        spec_hash=spec_hash(SPEC),
    )


@pytest.mark.parametrize("text", ["", "<x/>", "not xml", f'<a xmlns="{NAMESPACE}"><uid>1</uid></a>'])
def test_what_is_no_mark_of_ours_is_none(text: str) -> None:
    assert mark.parse(text) is None


def test_markup_in_a_name_stays_text() -> None:
    root = ET.fromstring(render(replace(SPEC, server_name="<a&b>"), TCG))  # noqa: S314  # why: our own text
    assert root.findtext("name") == domain_name("demo", "<a&b>", SPEC.server_uid)


@pytest.mark.parametrize(
    "change",
    [{"memory_mib": 1024}, {"placement_epoch": 4}, {"nics": ()}, {"disk": Path("/other")}, {"firmware": "UEFI"}],
)
def test_every_change_shows_in_the_hash(change: dict[str, object]) -> None:
    assert spec_hash(replace(SPEC, **change)) != spec_hash(SPEC)  # type: ignore[arg-type]  # why: one table, many types


def test_the_hash_is_the_same_in_every_process() -> None:
    assert spec_hash(SPEC) == "cea6060b3d1e1345"
