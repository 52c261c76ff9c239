"""Elements that limit packets a second (``limit_ingress`` and ``limit_egress`` of guard.nft), in nft's own language.

libnftables' JSON reads an element's limit, but cannot set it (1.0.6): it would take the set's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from nephos_agent.network.rate_facts import PacketLimit
from nephos_api.resources.security_group import Direction

SETS: Final = {Direction.INGRESS: "limit_ingress", Direction.EGRESS: "limit_egress"}
_TABLE: Final = "bridge nephos"
_BURSTS_PER_SECOND: Final = 10
_LEAST_BURST: Final = 5


def commands(verb: str, facts: Iterable[PacketLimit]) -> str:
    """Return one transaction that does ``add`` or ``delete`` with the elements, whether or not they are there.

    An element's limit cannot be changed, so it is taken away first, and what is taken away has to be there.
    """
    lines = []
    for fact in facts:
        name, burst = SETS[fact.direction], max(_LEAST_BURST, fact.packets_per_second // _BURSTS_PER_SECOND)
        limit = f"limit rate over {fact.packets_per_second}/second burst {burst} packets"
        element = f"element {_TABLE} {name} {{ {fact.device} {limit} }}"
        lines += [f"add {element}", f"delete element {_TABLE} {name} {{ {fact.device} }}"]
        if verb == "add":
            lines.append(f"add {element}")
    return "\n".join(lines)


def listing(direction: Direction) -> str:
    """Return the command that lists the set of that direction."""
    return f"list set {_TABLE} {SETS[direction]}"


def read(direction: Direction, answer: dict[str, Any]) -> Iterator[PacketLimit]:
    """Yield the elements of that direction's set."""
    for entry in answer["nftables"]:
        for value in entry.get("set", {}).get("elem", ()):
            element = value["elem"]
            yield PacketLimit(element["val"], direction, element["limit"]["rate"])
