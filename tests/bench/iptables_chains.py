"""The same security groups as OpenStack's iptables firewall (Neutron's ``iptables_hybrid``) writes them: a reference.

For each port a rule for each direction in FORWARD, then in a chain of all ports, then two chains of its own: known
flows pass, then one rule after the other; who sends is looked at before; a port's flows have the zone of its network.
Generous where it differs: members are one prefix instead of an ipset, and only the ports that are measured have rules
in their own chains (a packet never enters those of others).
"""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nephos_agent.network.model import SecurityRule

_PROTOCOLS = {6: "tcp", 17: "udp"}
_KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"


@dataclass(frozen=True)
class Port:
    """A port that sends and gets packets here."""

    device: str
    mac: str
    address: str


def load(namespace: Path, devices: Sequence[str], measured: Sequence[Port], rules: Sequence[SecurityRule]) -> None:
    """Load the chains of all devices; those that are measured may get what the rules allow, and send everything."""
    text = "\n".join([*_zones(devices), *_filters(devices, measured, rules)]) + "\n"
    command = ["nsenter", f"--net={namespace}", "iptables-restore"]
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)


def _zones(devices: Sequence[str]) -> Iterator[str]:
    yield "*raw"
    for device in devices:
        yield f"-A PREROUTING -m physdev --physdev-in {device} -j CT --zone 1"
    yield "COMMIT"


def _filters(devices: Sequence[str], measured: Sequence[Port], rules: Sequence[SecurityRule]) -> Iterator[str]:
    own = {port.device: number for number, port in enumerate(measured)}
    chains = [f"{kind}{number}" for number in own.values() for kind in "ios"]
    yield from ("*filter", *(f":{chain} - [0:0]" for chain in ("all-ports", "other-ports", "refused", *chains)))
    for device in devices:
        yield f"-A FORWARD -m physdev --physdev-out {device} --physdev-is-bridged -j all-ports"
        yield f"-A FORWARD -m physdev --physdev-in {device} --physdev-is-bridged -j all-ports"
        number = own.get(device)
        ingress, egress = ("other-ports", "other-ports") if number is None else (f"i{number}", f"o{number}")
        yield f"-A all-ports -m physdev --physdev-out {device} --physdev-is-bridged -j {ingress}"
        yield f"-A all-ports -m physdev --physdev-in {device} --physdev-is-bridged -j {egress}"
    yield "-A all-ports -j ACCEPT"
    yield "-A refused -j DROP"
    for number, port in enumerate(measured):
        yield f"-A i{number} {_KNOWN}"
        yield from (f"-A i{number} {_match(rule)} -j RETURN" for rule in rules)
        yield f"-A i{number} -m conntrack --ctstate INVALID -j DROP"
        yield f"-A i{number} -j refused"
        yield f"-A s{number} -s {port.address}/32 -m mac --mac-source {port.mac} -j RETURN"
        yield f"-A s{number} -j DROP"
        yield f"-A o{number} -s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 -j RETURN"
        yield f"-A o{number} -j s{number}"
        yield f"-A o{number} -p udp -m udp --sport 68 --dport 67 -j RETURN"
        yield f"-A o{number} -p udp -m udp --sport 67 --dport 68 -j DROP"
        yield f"-A o{number} {_KNOWN}"
        yield f"-A o{number} -j RETURN"
    yield "COMMIT"


def _match(rule: SecurityRule) -> str:
    protocol = _PROTOCOLS[rule.protocol or 0]
    remote = f"-s {rule.remote_prefix} " if rule.remote_prefix else "-s 10.10.0.0/16 " if rule.remote_group else ""
    ports = f" -m {protocol} --dport {rule.port_min}:{rule.port_max}" if rule.port_min is not None else ""
    return f"{remote}-p {protocol}{ports}"
