"""Elements of the filters' sets, as libnftables' JSON (libnftables-json(5))."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from nephos_agent.network.facts import DROP_COUNTERS, GuardElement, GuardSet
from nephos_agent.network.filters.numbering import Numbering
from nephos_agent.network.names import OPEN
from nephos_api.resources.security_group import IPFamily

FAMILIES: Final = ("bridge", "inet")
"""The families of the tables ``nephos``: guard.nft's and filter.nft's."""
TABLE: Final = "nephos"
_BRIDGE_SETS: Final = frozenset(
    {
        GuardSet.ROLE,
        GuardSet.MAC,
        GuardSet.IPV4,
        GuardSet.IPV6,
        GuardSet.ND_TARGET,
        GuardSet.PAIR_IPV4,
        GuardSet.PAIR_IPV6,
        GuardSet.PAIR_ND_TARGET,
        GuardSet.SHARED_IPV4,
        GuardSet.SHARED_ND_TARGET,
        GuardSet.MARK,
        GuardSet.SPOOFED,
        GuardSet.DISABLED,
        GuardSet.LIMITED,
    }
)
_BRIDGE_COUNTERS: Final = _BRIDGE_SETS & DROP_COUNTERS
_BY_DEVICE_NUMBER: Final = frozenset(
    {GuardSet.REFUSED_EGRESS, GuardSet.REFUSED_INGRESS, GuardSet.CROWDED, GuardSet.SERVING}
)
_FAMILIES: Final = {family.value.lower(): family.value for family in IPFamily}
_POLICY_SHIFT: Final = 16
_LOWER_HALF: Final = 0xFFFF


def skeleton() -> str:
    """Return both tables with their chains and empty sets, in nft's own language: constant, read by people too."""
    folder = files(__package__)
    return "\n".join(folder.joinpath(name).read_text() for name in ("guard.nft", "filter.nft"))


def removal() -> str:
    """Return what removes both tables, whether they are there or not."""
    return "".join(f"add table {each} {TABLE}\ndelete table {each} {TABLE}\n" for each in FAMILIES)


def commands(steps: Iterable[tuple[str, Iterable[GuardElement]]], numbering: Numbering) -> str:
    """Return one transaction that does each step, ``add`` or ``delete``, with its elements."""
    return json.dumps(
        {"nftables": [command for verb, elements in steps for command in _step(verb, elements, numbering)]}
    )


def family(name: GuardSet) -> str:
    """Return the family of the table that has the set."""
    return "bridge" if name in _BRIDGE_SETS else "inet"


def _step(verb: str, elements: Iterable[GuardElement], numbering: Numbering) -> Iterator[dict[str, Any]]:
    by_set: dict[GuardSet, dict[tuple[str, ...], Any]] = {}
    for element in elements:
        by_set.setdefault(element.set, {})[element.key] = _to_json(element, numbering, is_key=verb == "delete")
    for name, values in sorted(by_set.items()):
        yield {verb: {"element": {"family": family(name), "table": TABLE, "name": name, "elem": list(values.values())}}}


def read_elements(listing: dict[str, Any], numbering: Numbering) -> frozenset[GuardElement]:
    """Return the elements in a listing of the tables, and learn their numbers.

    What is in sets that are no ``GuardSet`` is left out.
    """
    elements = {GuardSet(name): found for name, found in _listed(listing) if name in set(GuardSet)}
    for value in elements.get(GuardSet.NETWORK, ()):
        numbering.networks.learn(value[0], value[1])
    for value in elements.get(GuardSet.POLICY, ()):
        numbering.policies.learn(value[0]["concat"][1], value[1])
    for value in elements.get(GuardSet.MARK, ()):
        numbering.devices.learn(value[0], value[1] & _LOWER_HALF)
    return frozenset(_from_json(name, value, numbering) for name, values in elements.items() for value in values)


def read_drops(listing: dict[str, Any], numbering: Numbering) -> dict[tuple[str, GuardSet], int]:
    """Return how many packets each counter of drops has, by device and reason."""
    return {
        (_from_json(GuardSet(name), value, numbering).device, GuardSet(name)): value["elem"]["counter"]["packets"]
        for name, values in _listed(listing)
        if name in DROP_COUNTERS
        for value in values
    }


def _listed(listing: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for entry in listing["nftables"]:
        for kind, body in entry.items():
            if kind in ("set", "map"):
                yield body["name"], body.get("elem", [])


def _to_json(element: GuardElement, numbering: Numbering, *, is_key: bool) -> Any:
    key, value = _parts(element, numbering)
    return key if value is None or is_key else [key, value]


def _parts(element: GuardElement, numbering: Numbering) -> tuple[Any, Any]:
    """Return key and value of the element; sets have no value."""
    return _sender_parts(element, numbering) if element.set in _BRIDGE_SETS else _flow_parts(element, numbering)


def _sender_parts(element: GuardElement, numbering: Numbering) -> tuple[Any, Any]:
    device, rest = element.device, element.rest
    match element.set:
        case GuardSet.ROLE:
            return device, {"goto": {"target": rest[0]}}
        case GuardSet.MARK:
            return device, _mark(device, rest[0], numbering)
        case GuardSet.IPV4 | GuardSet.IPV6:
            return {"concat": [device, *rest[:-1]]}, _mark(device, rest[-1], numbering)
        case name if name in _BRIDGE_COUNTERS:
            return device, None
        case GuardSet.SHARED_IPV4 | GuardSet.SHARED_ND_TARGET as name:
            return {"concat": [device, *_address_to_json(name, rest)]}, None
        case name:
            return {"concat": [device, rest[0], *_address_to_json(name, rest[1:])]}, None


def _flow_parts(element: GuardElement, numbering: Numbering) -> tuple[Any, Any]:
    device, rest = element.device, element.rest
    match element.set:
        case GuardSet.NETWORK:
            return device, numbering.networks.number(device)
        case GuardSet.POLICY:
            return {"concat": [rest[0], device]}, numbering.policies.number(device)
        case GuardSet.ZONE:
            return numbering.devices.number(device), numbering.networks.number(rest[0])
        case GuardSet.SERVICE:
            return {"concat": [numbering.networks.number(device), rest[0]]}, None
        case GuardSet.MEMBER_IPV4 | GuardSet.MEMBER_IPV6:
            return {"concat": [numbering.networks.number(device), rest[0]]}, _policy_number(rest[1], numbering)
        case GuardSet.SAME_POLICY:
            return {"concat": [_policy_number(device, numbering)] * 2}, None
        case GuardSet.CLIENT:
            return {"concat": [numbering.devices.number(device), rest[0], _mac_number(rest[0])]}, None
        case name if name in _BY_DEVICE_NUMBER:
            return numbering.devices.number(device), None
        case _:
            return {"concat": _rule_to_json(element, numbering)}, None


def _mac_number(mac: str) -> str:
    """Return a MAC where nft knows of no field."""
    return f"0x{mac.replace(':', '')}"


def _mark(device: str, policy: str, numbering: Numbering) -> int:
    return _policy_number(policy, numbering) | numbering.devices.number(device)


def _address_to_json(name: GuardSet, rest: tuple[str, ...]) -> Iterator[Any]:
    """Yield the address of an element about a sender. A target is a number, since it is no field that nft knows."""
    for address in rest:
        match name:
            case GuardSet.ND_TARGET:
                yield f"{int(IPv6Address(address)):#034x}"
            case GuardSet.PAIR_ND_TARGET | GuardSet.SHARED_ND_TARGET:
                network = IPv6Network(address)
                bounds = (network.network_address, network.broadcast_address)
                yield {"range": [f"{int(bound):#034x}" for bound in bounds]}
            case GuardSet.PAIR_IPV4 | GuardSet.PAIR_IPV6 | GuardSet.SHARED_IPV4:
                yield _prefix_to_json(address)
            case _:
                yield address


def _rule_to_json(element: GuardElement, numbering: Numbering) -> list[Any]:
    """Return the key in the order of ``filter.nft``: policy, family where a policy is the remote, protocol, remote.

    Of a rule with ports, the port and the remote come first.
    """
    *parts, remote = element.rest
    by_policy, with_port = _is_by_policy(element.set), _is_with_port(element.set)
    other_side = _policy_number(remote, numbering) if by_policy else _prefix_to_json(remote)
    family = [parts.pop(0).lower()] if by_policy else []
    protocol, *ports = (_span_to_json(span) for span in parts)
    policy = [_policy_number(element.device, numbering), *family, protocol]
    return [*ports, other_side, *policy] if with_port else [*policy, other_side]


def _is_by_policy(name: GuardSet) -> bool:
    return "_group" in name


def _is_with_port(name: GuardSet) -> bool:
    return name.endswith("_port")


def _policy_number(policy: str, numbering: Numbering) -> int:
    return 0 if policy == OPEN else numbering.policies.number(policy) << _POLICY_SHIFT


def _span_to_json(span: str) -> Any:
    """Return a range, also of one number: libnftables 1.0.6 cannot delete an interval whose parts are all single."""
    first, _, last = span.partition("-")
    return {"range": [int(first), int(last or first)]}


def _prefix_to_json(prefix: str) -> Any:
    address, _, length = prefix.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def _from_json(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    if name in DROP_COUNTERS:
        value = value["elem"]["val"]
    if name in _BY_DEVICE_NUMBER:
        return GuardElement(numbering.devices.name(value), name)
    reader = _READERS.get(name, _rule_from_json)
    return reader(name, value, numbering)


def _role(name: GuardSet, value: Any, _numbering: Numbering) -> GuardElement:
    device, verdict = value
    return GuardElement(device, name, (next(iter(verdict.values()))["target"],))


def _device_mark(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    return GuardElement(value[0], name, (_policy_from_mark(value[1], numbering),))


def _by_name(name: GuardSet, value: Any, _numbering: Numbering) -> GuardElement:
    return GuardElement(value if isinstance(value, str) else value[0], name)


def _policy(name: GuardSet, value: Any, _numbering: Numbering) -> GuardElement:
    bridge, policy = value[0]["concat"]
    return GuardElement(policy, name, (bridge,))


def _zone(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    return GuardElement(numbering.devices.name(value[0]), name, (numbering.networks.name(value[1]),))


def _member(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    (zone, address), priority = value[0]["concat"], value[1]
    policy = _policy_from_priority(priority, numbering)
    return GuardElement(numbering.networks.name(zone), name, (str(ip_address(address)), policy))


def _same_policy(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    _priority, mark = value["concat"]
    return GuardElement(_policy_from_mark(mark, numbering), name)


def _service(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    zone, mac = value["concat"]
    return GuardElement(numbering.networks.name(zone), name, (mac,))


def _client(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    number, mac, _same = value["concat"]
    return GuardElement(numbering.devices.name(number), name, (mac,))


def _sender(name: GuardSet, value: Any, _numbering: Numbering) -> GuardElement:
    device, mac, *addresses = value["concat"]
    match name:
        case GuardSet.ND_TARGET:
            rest = [str(IPv6Address(int(address, 16))) for address in addresses]
        case GuardSet.PAIR_ND_TARGET:
            rest = [_prefix_of_range(address) for address in addresses]
        case GuardSet.PAIR_IPV4 | GuardSet.PAIR_IPV6:
            rest = [_prefix_from_json(address) for address in addresses]
        case _:
            rest = addresses
    return GuardElement(device, name, (mac, *rest))


def _shared(name: GuardSet, value: Any, _numbering: Numbering) -> GuardElement:
    device, address = value["concat"]
    read = _prefix_from_json if name is GuardSet.SHARED_IPV4 else _prefix_of_range
    return GuardElement(device, name, (read(address),))


def _known_sender(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    key, mark = value
    device, mac, address = key["concat"]
    return GuardElement(device, name, (mac, str(ip_address(address)), _policy_from_mark(mark, numbering)))


def _rule_from_json(name: GuardSet, value: Any, numbering: Numbering) -> GuardElement:
    parts = list(value["concat"])
    ports = [parts.pop(0)] if _is_with_port(name) else []
    remote = parts.pop(0) if ports else parts.pop()
    mark, *families, protocol = parts
    spans = [_span_from_json(span) for span in (protocol, *ports)]
    if families:
        remote_policy = _policy_from_priority(remote, numbering)
        return GuardElement(_policy_from_mark(mark, numbering), name, (_FAMILIES[families[0]], *spans, remote_policy))
    return GuardElement(_policy_from_mark(mark, numbering), name, (*spans, _prefix_from_json(remote)))


def _policy_from_mark(mark: int, numbering: Numbering) -> str:
    number = mark >> _POLICY_SHIFT
    return OPEN if number == 0 else numbering.policies.name(number)


def _policy_from_priority(priority: str, numbering: Numbering) -> str:
    """Return the policy of a member: nft lists priorities as ``tc`` writes them, both halves in hexadecimal."""
    upper, _, _lower = priority.partition(":")
    return numbering.policies.name(int(upper, 16))


def _span_from_json(value: Any) -> str:
    return str(value) if isinstance(value, int) else "-".join(str(bound) for bound in value["range"])


def _prefix_from_json(value: Any) -> str:
    if isinstance(value, dict):
        return str(ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}"))
    return str(ip_network(value))


def _prefix_of_range(value: Any) -> str:
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    length = 128 - (int(first, 16) ^ int(last, 16)).bit_length()
    return f"{IPv6Address(int(first, 16))}/{length}"


_READERS: Final[dict[GuardSet, Callable[[GuardSet, Any, Numbering], GuardElement]]] = {
    GuardSet.ROLE: _role,
    GuardSet.MARK: _device_mark,
    GuardSet.NETWORK: _by_name,
    GuardSet.POLICY: _policy,
    GuardSet.ZONE: _zone,
    GuardSet.SAME_POLICY: _same_policy,
    GuardSet.SERVICE: _service,
    GuardSet.CLIENT: _client,
    GuardSet.MEMBER_IPV4: _member,
    GuardSet.MEMBER_IPV6: _member,
    GuardSet.SHARED_IPV4: _shared,
    GuardSet.SHARED_ND_TARGET: _shared,
    GuardSet.IPV4: _known_sender,
    GuardSet.IPV6: _known_sender,
    **dict.fromkeys(_BRIDGE_COUNTERS, _by_name),
    **dict.fromkeys(
        (GuardSet.MAC, GuardSet.ND_TARGET, GuardSet.PAIR_IPV4, GuardSet.PAIR_IPV6, GuardSet.PAIR_ND_TARGET), _sender
    ),
}
