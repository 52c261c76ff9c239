"""Which state of the rule set a network namespace is in: the kernel counts all transactions, whoever makes them."""

from __future__ import annotations

import socket
import struct
from typing import Final

from nephos_agent.network.linux.netlink_codec import attributes
from nephos_agent.network.linux.netlink_socket import NetlinkSocket

_NETLINK_NETFILTER: Final = 12
_NFGENMSG: Final = struct.Struct("!BBH")
_NEW_GENERATION, _GET_GENERATION = ((10 << 8) | kind for kind in (15, 16))
_ID: Final = 1


class Generation:
    """Of the namespace of the thread that makes it. Calls block."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(_NETLINK_NETFILTER, "rule set")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def number(self) -> int:
        """Return how many transactions there were, from some number on."""
        answers = dict(self._socket.ask(_GET_GENERATION, _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0)))
        return int.from_bytes(dict(attributes(answers[_NEW_GENERATION], _NFGENMSG.size))[_ID])
