"""The same paths wired by hand, with ip and nft alone: what a careful person would write for three guests.

The same devices in the same places, with the same MTUs and the kernel's own offloads: tenants' bridges and routers are
in namespaces of their own, outside is a bridge of the host's and a cable to the tenants'. A floating IP is one rule of
DNAT and one of SNAT.

Guests are guarded as they are with Nephos, by the least that does it on such a kernel: a guest sends with its own MAC
and address alone; what guests send and get is tracked, in a zone of its network; known flows pass, and new ones if one
of three rules says so. Bridges without guests are judged by nobody. Unguarded, nothing of that holds: no connection is
tracked but by a translation.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nephos_api.identity import mac_address

_PREFIX = "nbench"
_UNDERLAY = {"h1": "192.0.2.1", "h2": "192.0.2.2"}
_NETWORKS = {"1": "10.10.0", "2": "10.20.0"}
_TENANTS = {"h1": "t1", "h2": "t2"}
_GUESTS = {"a": ("h1", "1", 11), "c": ("h2", "1", 13), "b": ("h2", "2", 12)}
_FLOATING = "203.0.113.22"
_TRANSLATION = """
table ip hand {
	chain arriving { type nat hook prerouting priority -100; ip daddr %(floating)s dnat to %(fixed)s; }
	chain leaving { type nat hook postrouting priority 100; oifname "ext" ip saddr %(fixed)s snat to %(floating)s; }
}
"""
_FILTERS = """
table bridge hand {
	set guests { typeof iifname . ether saddr . ip saddr; elements = { %(senders)s } }
	chain incoming {
		type filter hook prerouting priority -300; policy accept;
		iifname "g*" ether type ip iifname . ether saddr . ip saddr != @guests drop
		iifname "g*" meta mark set 1
	}
	chain crossing {
		type filter hook forward priority -200; policy accept;
		oifname "g*" meta mark set 1
	}
}
table inet hand {
	chain zones {
		type filter hook prerouting priority -450; policy accept;
		iifname "br1" ct zone set 1
		iifname "br2" ct zone set 2
	}
	chain judged {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		meta mark 0 accept
		ip daddr 10.0.0.0/8 tcp dport 5201 accept
		ip protocol icmp accept
		udp dport 53 accept
	}
}
"""


@dataclass(frozen=True)
class HandWired:
    """Where the wired paths begin and end: namespaces, and addresses."""

    a: Path
    b: Path
    c: Path
    internet: Path
    address_b: str
    address_c: str
    floating: str

    def guard(self, *, guarded: bool) -> None:
        """Have guests filtered, or not."""
        for tenants in ("t1", "t2"):
            _load(
                tenants, "add table bridge hand; add table inet hand; delete table bridge hand; delete table inet hand"
            )
            if guarded:
                senders = (
                    f'"g{guest}" . {mac_address(guest)} . {_address(guest)}'
                    for guest, (host, _network, _number) in _GUESTS.items()
                    if _TENANTS[host] == tenants
                )
                _load(tenants, _FILTERS % {"senders": ", ".join(senders)})


@contextmanager
def hand_wired() -> Iterator[HandWired]:
    """Wire everything; take it away at the end."""
    names = [_name(each) for each in ("h1", "h2", "t1", "t2", "r1", "r2", "net", *_GUESTS)]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _wire_hosts()
        _wire_guests()
        _wire_routers()
        _wire_outside()
        a, b, c, internet = (Path("/run/netns") / _name(each) for each in ("a", "b", "c", "net"))
        yield HandWired(a, b, c, internet, _address("b"), _address("c"), _FLOATING)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _wire_hosts() -> None:
    _in("h1", f"ip link add eth0 type veth peer name eth0 netns {_name('h2')}")
    for host, tenants, peer in (("h1", "t1", "h2"), ("h2", "t2", "h1")):
        _in(host, f"ip addr add {_UNDERLAY[host]}/24 dev eth0", "ip link set eth0 up")
        for network in _NETWORKS:
            _in(
                host,
                f"ip link add vx{network} mtu 1450 type vxlan id 10{network} dstport 4789 nolearning"
                f" local {_UNDERLAY[host]}",
                f"ip link set vx{network} netns {_name(tenants)}",
            )
            _in(
                tenants,
                f"ip link add br{network} mtu 1450 type bridge mcast_snooping 0",
                f"ip link set vx{network} master br{network} up",
                f"bridge link set dev vx{network} learning off flood off",
                f"ip link set br{network} up",
            )
            if not any(home == host and own == network for home, own, _number in _GUESTS.values()):
                _in(tenants, f"ip link set br{network} type bridge nf_call_iptables 0")
            for guest, (home, own, _number) in _GUESTS.items():
                if home == peer and own == network:
                    mac = mac_address(guest)
                    _in(
                        tenants,
                        f"bridge fdb add {mac} dev vx{network} dst {_UNDERLAY[peer]} self",
                        f"bridge fdb add {mac} dev vx{network} master static",
                    )


def _wire_guests() -> None:
    for guest, (host, network, _number) in _GUESTS.items():
        _in(
            _TENANTS[host],
            f"ip link add g{guest} mtu 1450 type veth"
            f" peer name eth0 mtu 1450 address {mac_address(guest)} netns {_name(guest)}",
            f"ip link set g{guest} master br{network} up",
        )
        _in(
            guest,
            f"ip addr add {_address(guest)}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {_NETWORKS[network]}.1",
        )
    for one, other in (("a", "c"), ("c", "a")):
        _in(one, f"ip neigh add {_address(other)} lladdr {mac_address(other)} dev eth0 nud permanent")


def _wire_routers() -> None:
    for tenants, router in (("t1", "r1"), ("t2", "r2")):
        _in(router, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0")
        _in(router, "sysctl -qw net.ipv4.conf.default.rp_filter=0")
        for network, base in _NETWORKS.items():
            mac = mac_address("router", network)
            _in(
                tenants,
                f"ip link add leg{network} mtu 1450 type veth"
                f" peer name leg{network} mtu 1450 address {mac} netns {_name(router)}",
                f"ip link set leg{network} master br{network} up",
                f"bridge link set dev leg{network} learning off",
                f"bridge fdb add {mac} dev leg{network} master static",
            )
            _in(router, f"ip addr add {base}.1/24 dev leg{network}", f"ip link set leg{network} up")
        for guest, (_home, network, _number) in _GUESTS.items():
            _in(
                router,
                f"ip neigh add {_address(guest)} lladdr {mac_address(guest)} dev leg{network} nud permanent",
            )


def _wire_outside() -> None:
    """Wire the second host's router to a bridge outside, by a bridge of the tenants' and a cable between the two."""
    _in(
        "h2",
        "ip link add br-ex type bridge",
        "ip link set br-ex up",
        f"ip link add eth1 type veth peer name eth0 netns {_name('net')}",
        "ip link set eth1 master br-ex up",
        f"ip link add uplink type veth peer name uplink netns {_name('t2')}",
        "ip link set uplink master br-ex up",
    )
    _in(
        "t2",
        "ip link add brex type bridge nf_call_iptables 0",
        "ip link set brex up",
        "ip link set uplink master brex up",
        f"ip link add ext type veth peer name ext netns {_name('r2')}",
        "ip link set ext master brex up",
    )
    _in("net", "ip addr add 203.0.113.1/24 dev eth0", "ip link set eth0 up")
    _in("r2", f"ip addr add {_FLOATING}/24 dev ext", "ip link set ext up")
    rules = _TRANSLATION % {"floating": _FLOATING, "fixed": _address("b")}
    _load("r2", rules)


def _address(guest: str) -> str:
    _host, network, number = _GUESTS[guest]
    return f"{_NETWORKS[network]}.{number}"


def _name(short: str) -> str:
    return f"{_PREFIX}-{short}"


def _in(place: str, *commands: str) -> None:
    for command in commands:
        _run("ip", "netns", "exec", _name(place), *command.split())


def _load(place: str, rules: str) -> None:
    subprocess.run(["ip", "netns", "exec", _name(place), "nft", "-f", "-"], input=rules, text=True, check=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
