"""What a host's kernel says and does, seen from outside of its agent: commits to its rule set, pings at a tap."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.probe import echo_request, socket_inside
from contract.network_lab import inside
from nephos_agent.network.linux.netlink_codec import attributes, messages

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NFNLGRP_NFTABLES = 7
_SUBSYSTEM_NFTABLES = 10 << 8
_NEW_ELEMENT, _DELETED_ELEMENT, _NEW_GENERATION = (_SUBSYSTEM_NFTABLES | kind for kind in (12, 14, 15))
_NFGENMSG_BYTES = 4
_SET_NAME = 2  # NFTA_SET_ELEM_LIST_SET
_ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_BUFFER_BYTES = 1 << 22
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_ETHERNET_BYTES = 14
_ICMP_IN_IPV4 = b"\x08\x00\x45"  # ethertype and the first byte of the header
_ECHO_REQUEST = 8
_LOOK_S = 0.2
"""How often a thread looks whether it is to end; what it waits for wakes it at once."""


@dataclass(frozen=True)
class Element:
    """An element of a set that a commit brought, or took away."""

    set: str
    content: bytes
    """Key and value as the kernel encodes them."""


@dataclass(frozen=True)
class Commit:
    """One transaction of the rule set."""

    moment: float
    """When it was announced (time.monotonic)."""
    elements: tuple[Element, ...]


@dataclass
class Commits:
    """All commits to the rule set of a namespace, as the kernel announces them."""

    _seen: list[Commit] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def since(self, moment: float) -> tuple[Commit, ...]:
        """Return the commits from that moment on."""
        with self._news:
            return tuple(commit for commit in self._seen if commit.moment >= moment)

    def wait(self, moment: float, wanted: Callable[[Commit], bool], *, timeout_s: float) -> Commit:
        """Return the first commit from that moment on that is wanted. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = next((each for each in self._seen if each.moment >= moment and wanted(each)), None)
                if found:
                    return found
                if not self._news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no such commit within {timeout_s:g} s")

    def wait_quiet(self, for_s: float, *, timeout_s: float) -> None:
        """Wait until nothing was committed for some time. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while self._news.wait(for_s):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the rule set still changes after {timeout_s:g} s")

    def take(self, commit: Commit) -> None:
        """Note a commit, and wake who waits."""
        with self._news:
            self._seen.append(commit)
            self._news.notify_all()


@contextmanager
def watching_commits(namespace: Path) -> Iterator[Commits]:
    """Listen to the rule set of the network namespace."""
    commits = Commits()
    with inside(namespace, _rule_set_events) as listening, _thread(lambda ended: _listen(listening, commits, ended)):
        yield commits


@dataclass
class Arrivals:
    """When pings came out at a device."""

    moments: list[float] = field(default_factory=list)
    """time.monotonic, in order."""

    def first_since(self, moment: float) -> float | None:
        """Return when the first one came from that moment on."""
        return next((each for each in tuple(self.moments) if each >= moment), None)

    @property
    def last(self) -> float:
        """When the last one came; 0 if none did."""
        return self.moments[-1] if self.moments else 0.0


@contextmanager
def pinging(source: Path, address: str, namespace: Path, device: str, *, every_s: float) -> Iterator[Arrivals]:
    """Ping an address from one network namespace all the time, as one flow; note what comes out at a device of another.

    What comes out has passed all filters, whether anybody answers or not.
    """
    arrivals = Arrivals()
    with (
        socket_inside(source) as pinger,
        inside(namespace, lambda: _sniffer(device)) as sniffer,
        _thread(lambda ended: _sniff(sniffer, arrivals, ended)),
        _thread(lambda ended: _ping(pinger, address, every_s, ended)),
    ):
        yield arrivals


def _listen(listening: socket.socket, commits: Commits, ended: threading.Event) -> None:
    elements: list[Element] = []
    for data, _sender in _received(listening, ended):
        moment = time.monotonic()
        for kind, payload in messages(memoryview(data)):
            if kind in (_NEW_ELEMENT, _DELETED_ELEMENT):
                found = dict(attributes(payload, _NFGENMSG_BYTES))
                each = attributes(memoryview(found[_ELEMENTS]), 0)
                name = found[_SET_NAME].rstrip(b"\0").decode()
                elements += [Element(name, content) for _kind, content in each]
            elif kind == _NEW_GENERATION:
                commits.take(Commit(moment, tuple(elements)))
                elements = []


def _sniff(sniffer: socket.socket, arrivals: Arrivals, ended: threading.Event) -> None:
    for frame, sender in _received(sniffer, ended):
        is_ping = (
            frame[12:15] == _ICMP_IN_IPV4
            and frame[_ETHERNET_BYTES + 9] == socket.IPPROTO_ICMP
            and frame[_ETHERNET_BYTES + 20] == _ECHO_REQUEST
        )
        if sender[2] == _PACKET_OUTGOING and is_ping:
            arrivals.moments.append(time.monotonic())


def _ping(pinger: socket.socket, address: str, every_s: float, ended: threading.Event) -> None:
    sequence = 0
    while not ended.wait(every_s):
        sequence = (sequence + 1) & 0xFFFF
        pinger.sendto(echo_request(1, sequence), (address, 0))


def _received(source: socket.socket, ended: threading.Event) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    source.settimeout(_LOOK_S)
    while not ended.is_set():
        try:
            yield source.recvfrom(_BUFFER_BYTES)
        except TimeoutError:
            continue


def _rule_set_events() -> socket.socket:
    listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    listening.bind((0, 0))
    listening.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    return listening


def _sniffer(device: str) -> socket.socket:
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    sniffer.bind((device, _ETH_P_ALL))
    return sniffer


@contextmanager
def _thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
