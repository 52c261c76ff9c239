"""Bad manifests are refused at apply, with a sentence that names the field and says what to do."""

from dataclasses import dataclass
from typing import Any

import pytest

from .conftest import Api, manifest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkVNQ0tEFhPZ2jzuRdpCXUzbG3eFhOAzL4fuhZnmzbN me@example.org"


@dataclass(frozen=True)
class Refusal:
    name: str
    kind: str
    spec: dict[str, Any]
    parts: tuple[str, ...]
    metadata: dict[str, Any] | None = None


def flavor(name: str, *parts: str, **spec: Any) -> Refusal:
    return Refusal(f"flavor-{name}", "Flavor", {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1} | spec, parts)


def server(name: str, *parts: str, metadata: dict[str, Any] | None = None, **spec: Any) -> Refusal:
    return Refusal(f"server-{name}", "Server", {"flavor": "tiny", "image": "tiny"} | spec, parts, metadata)


def subnet(name: str, *parts: str, **spec: Any) -> Refusal:
    return Refusal(f"subnet-{name}", "Subnet", {"network": "blue", "cidr": "10.10.0.0/24"} | spec, parts)


def floating_ip(name: str, *parts: str, **spec: Any) -> Refusal:
    return Refusal(f"floatingip-{name}", "FloatingIP", {"externalNetwork": "public"} | spec, parts)


def image(name: str, *parts: str, url: str = "https://images.example.org/a.qcow2", **source: Any) -> Refusal:
    return Refusal(f"image-{name}", "Image", {"source": {"url": url} | source, "format": "qcow2"}, parts)


def pool(start: str, end: str) -> dict[str, str]:
    return {"start": start, "end": end}


HOST_BITS = "has host bits set; write the network's own address"
FORBIDDEN_ADDRESS = "loopback, link-local, multicast or unspecified address"
UNUSUAL_ADDRESS = "unusual form of an address"

REFUSED = (
    flavor("without-memory", "spec.memoryMiB", "should be greater than or equal to 64", memoryMiB=0),
    flavor("with-too-many-vcpus", "spec.vcpus", "512", vcpus=513),
    flavor("with-unknown-field", 'unknown field "spec.memory"', memory=1),
    flavor("with-lower-case-trait", "spec.requiredTraits[0]", requiredTraits=["hw_cpu"]),
    flavor(
        "with-long-label-key", "spec.hostLabels", "each key must have 1 to 316 characters", hostLabels={"a" * 317: "b"}
    ),
    Refusal(
        "flavor-with-dots-in-its-name",
        "Flavor",
        {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1},
        ("metadata.name", "at most 63 lower-case letters"),
        {"name": "m1.tiny"},
    ),
    server("with-unknown-field", 'unknown field "spec.flavour"', flavour="tiny"),
    server("without-flavor", "spec.flavor", flavor=None),
    server("with-upper-case-flavor", "spec.flavor", "should match", flavor="Tiny"),
    server("with-long-name", "metadata.name", "at most 47 lower-case letters", metadata={"name": "a" * 48}),
    server("with-dots-in-its-name", "metadata.name", "guest's host name", metadata={"name": "web.1"}),
    server(
        "with-two-nics-of-one-name",
        "spec.networks[1]",
        "Duplicate value",
        networks=[{"network": "blue"}, {"network": "red"}],
    ),
    server("with-hyphen-in-nic-name", "spec.networks[0].name", networks=[{"name": "net-0", "network": "blue"}]),
    server(
        "with-one-address-twice",
        "spec.networks",
        "two entries ask for the same address",
        networks=[
            {"name": "a", "network": "blue", "addresses": ["10.10.0.9"]},
            {"name": "b", "network": "blue", "addresses": ["10.10.0.9"]},
        ],
    ),
    server(
        "with-one-address-twice-in-one-nic",
        "spec.networks[0].addresses[1]",
        "Duplicate value",
        networks=[{"network": "blue", "addresses": ["10.10.0.9", "10.10.0.9"]}],
    ),
    server(
        "with-no-address",
        "spec.networks[0].addresses[0]",
        "must be an IP address",
        networks=[{"network": "blue", "addresses": ["10.10.0.256"]}],
    ),
    server(
        "with-leading-zero-in-address",
        "spec.networks[0].addresses[0]",
        "must be an IP address",
        networks=[{"network": "blue", "addresses": ["10.10.0.011"]}],
    ),
    server(
        "with-long-form-of-ipv6-address",
        "spec.networks[0].addresses[0]",
        "short form",
        networks=[{"network": "blue", "addresses": ["fd00:0:0:0:0:0:0:1"]}],
    ),
    server("with-17-nics", "spec.networks", "16", networks=[{"name": f"n{i}", "network": "blue"} for i in range(17)]),
    server("with-unknown-state", "spec.state", "Shutoff", state="Off"),
    server("with-unknown-restart-policy", "spec.restartPolicy", restartPolicy="Sometimes"),
    server("with-long-user-data", "spec.userData", "65535", userData="x" * 65_536),
    Refusal(
        "server-with-long-metadata-value",
        "Server",
        {"flavor": "tiny", "image": "tiny", "metadata": {"role": "x" * 256}},
        ("spec.metadata.role", "255"),
    ),
    Refusal(
        "server-with-long-metadata-key",
        "Server",
        {"flavor": "tiny", "image": "tiny", "metadata": {"x" * 256: "a"}},
        ("spec.metadata", "each key must have 1 to 255 characters"),
    ),
    Refusal(
        "server-with-too-much-metadata",
        "Server",
        {"flavor": "tiny", "image": "tiny", "metadata": {f"k{i}": "v" for i in range(129)}},
        ("spec.metadata", "128"),
    ),
    subnet("with-host-bits", "spec.cidr", HOST_BITS, cidr="10.10.0.5/24"),
    subnet("that-is-no-network", "spec.cidr", "CIDR notation", cidr="10.10.0.0"),
    subnet("too-small", "spec.cidr", "from /8 to /29", cidr="10.10.0.0/30"),
    subnet("too-large", "spec.cidr", "from /8 to /29", cidr="10.0.0.0/7"),
    subnet("of-loopback", "spec.cidr", "choose a private network", cidr="127.0.1.0/24"),
    subnet("that-contains-link-local", "spec.cidr", "choose a private network", cidr="169.0.0.0/8"),
    subnet("of-multicast", "spec.cidr", "choose a private network", cidr="224.1.0.0/16"),
    *(
        subnet(f"of-{cidr}", "spec.cidr", "choose a unique local network", cidr=cidr)
        for cidr in ("::/64", "64:ff9b::/96", "fe80::/64", "ff02::/64")
    ),
    subnet("of-ipv6-too-large", "spec.cidr", "from /64 to /120", cidr="fd00::/48", ipv6Mode="DHCPv6Stateful"),
    subnet("of-ipv6-too-small", "spec.cidr", "from /64 to /120", cidr="fd00::/126", ipv6Mode="DHCPv6Stateful"),
    subnet("of-ipv6-and-no-64", "spec.cidr", "need a /64", cidr="fd00::/96"),
    subnet("of-stateless-dhcpv6-and-no-64", "spec.cidr", "need a /64", cidr="fd00::/96", ipv6Mode="DHCPv6Stateless"),
    subnet("of-ipv4-with-ipv6-mode", "spec.ipv6Mode", "of IPv6 alone", ipv6Mode="SLAAC"),
    subnet("with-unknown-ipv6-mode", "spec.ipv6Mode", "DHCPv6Stateful", cidr="fd00::/64", ipv6Mode="DHCPv6"),
    subnet("of-ipv6-with-gateway-outside", "spec.gateway", "lies outside", cidr="fd00::/64", gateway="fd00:0:0:1::1"),
    subnet("of-ipv6-with-gateway-of-ipv4", "spec.gateway", "lies outside", cidr="fd00::/64", gateway="10.10.0.1"),
    subnet("of-ipv6-with-gateway-at-its-start", "spec.gateway", "every router's", cidr="fd00::/64", gateway="fd00::"),
    subnet("of-ipv6-in-long-form", "spec.gateway", "short form", cidr="fd00::/64", gateway="FD00::1"),
    subnet(
        "of-ipv6-with-service-address-at-its-start",
        "spec.serviceAddress",
        "every router's",
        cidr="fd00::/64",
        serviceAddress="fd00::",
    ),
    subnet(
        "of-ipv6-with-pool-outside",
        "spec.allocationPools",
        "a pool lies outside spec.cidr",
        cidr="fd00::/64",
        allocationPools=[pool("fd00::10", "fd00:0:0:1::10")],
    ),
    subnet("with-gateway-outside", "spec.gateway", "lies outside spec.cidr", gateway="10.11.0.1"),
    subnet("with-gateway-of-ipv6", "spec.gateway", "lies outside spec.cidr", gateway="fd00::1"),
    subnet("with-gateway-at-network-address", "spec.gateway", "first or last address", gateway="10.10.0.0"),
    subnet("with-gateway-at-broadcast", "spec.gateway", "first or last address", gateway="10.10.0.255"),
    subnet("with-service-address-outside", "spec.serviceAddress", "lies outside", serviceAddress="10.10.1.2"),
    subnet(
        "with-service-address-at-gateway",
        "spec.serviceAddress",
        "same as spec.gateway",
        gateway="10.10.0.1",
        serviceAddress="10.10.0.1",
    ),
    subnet(
        "with-pool-outside",
        "spec.allocationPools",
        "a pool lies outside spec.cidr",
        allocationPools=[pool("10.10.0.10", "10.10.1.10")],
    ),
    subnet(
        "with-pool-backwards",
        "spec.allocationPools[0]",
        "start comes after end",
        allocationPools=[pool("10.10.0.100", "10.10.0.20")],
    ),
    subnet(
        "with-overlapping-pools",
        "spec.allocationPools",
        "two pools overlap",
        allocationPools=[pool("10.10.0.10", "10.10.0.20"), pool("10.10.0.20", "10.10.0.30")],
    ),
    subnet(
        "with-gateway-in-pool",
        "spec.allocationPools",
        "contains spec.gateway",
        gateway="10.10.0.15",
        allocationPools=[pool("10.10.0.10", "10.10.0.20")],
    ),
    subnet(
        "with-pool-of-names",
        "spec.allocationPools[0].start",
        "must be an IP address",
        allocationPools=[pool("first", "last")],
    ),
    subnet("with-dns-name-as-resolver", "spec.dnsServers[0]", "must be an IP address", dnsServers=["dns.example.org"]),
    subnet(
        "with-route-of-two-families",
        "spec.hostRoutes",
        "of one family",
        hostRoutes=[{"destination": "10.20.0.0/16", "nextHop": "fd00::1"}],
    ),
    subnet(
        "with-route-of-the-other-family",
        "spec.hostRoutes",
        "of the family of spec.cidr",
        hostRoutes=[{"destination": "fd01::/48", "nextHop": "fd00::1"}],
    ),
    subnet("with-bad-search-domain", "spec.searchDomains[0]", searchDomains=["example.org,\nserver=192.0.2.1"]),
    subnet("with-dns-name-as-time-server", "spec.ntpServers[0]", "must be an IP address", ntpServers=["ntp.example"]),
    subnet(
        "with-route-with-host-bits",
        "spec.hostRoutes[0].destination",
        HOST_BITS,
        hostRoutes=[{"destination": "10.20.0.1/16", "nextHop": "10.10.0.1"}],
    ),
    image("by-ftp", "spec.source.url", "must be an http:// or https:// address", url="ftp://example.org/a"),
    image("by-path", "spec.source.url", "must be an http:// or https:// address", url="/srv/images/a.qcow2"),
    image("of-file-outside-the-catalog", "spec.source.url", "nephos-catalog only", url="file:///srv/a.qcow2"),
    image("with-password", "spec.source.url", "user name or password", url="https://me:secret@example.org/a"),
    image("without-host", "spec.source.url", "names no host", url="https:///a.qcow2"),
    *(
        image(f"at-{url}", "spec.source.url", FORBIDDEN_ADDRESS, url=url)
        for url in (
            "http://127.0.0.1/a",
            "https://127.9.9.9:8443/a",
            "http://0.0.0.0/a",
            "http://169.254.169.254/latest",
            "http://224.0.0.1/a",
            "http://255.255.255.255/a",
            "http://localhost/a",
            "http://LOCALHOST:80",
            "http://a.localhost./a",
            "http://[::1]/a",
            "http://[::]:80/a",
            "http://[0:0:0:0:0:0:0:1]/a",
            "http://[::ffff:127.0.0.1]/a",
            "http://[fe80::1]/a",
            "http://[FE80::a9fe:a9fe]/a",
            "http://[ff02::1]/a",
        )
    ),
    *(
        image(f"at-{url}", "spec.source.url", UNUSUAL_ADDRESS, url=url)
        for url in ("http://2130706433/a", "http://0x7f000001/a", "http://192.168.1/a", "http://010.0.0.1/a")
    ),
    image("with-short-checksum", "spec.source.sha256", "64 lower-case hexadecimal digits", sha256="abc"),
    image("with-upper-case-checksum", "spec.source.sha256", "64 lower-case", sha256="A" * 64),
    Refusal(
        "image-of-unknown-format",
        "Image",
        {"source": {"url": "https://example.org/a"}, "format": "qed"},
        ("spec.format", "qcow2"),
    ),
    Refusal("network-with-small-mtu", "Network", {"mtu": 500}, ("spec.mtu", "576")),
    Refusal("network-with-bad-domain", "Network", {"dnsDomain": "Example.org"}, ("spec.dnsDomain",)),
    Refusal("network-with-dots-in-its-name", "Network", {}, ("metadata.name", "letters, digits"), {"name": "a.b"}),
    Refusal(
        "network-of-vlan-without-a-tag",
        "Network",
        {"external": {"physicalNetwork": "ext", "type": "VLAN"}},
        ("spec.external", "vlanID belongs to type VLAN"),
    ),
    Refusal(
        "network-that-is-flat-with-a-tag",
        "Network",
        {"external": {"physicalNetwork": "ext", "vlanID": 7}},
        ("spec.external", "leave it out of Flat"),
    ),
    Refusal("network-shared-by-a-project", "Network", {"shared": True}, ("spec.shared", "nephos-catalog")),
    Refusal("network-offered-by-a-project", "Network", {"projects": ["other"]}, ("spec.projects", "nephos-catalog")),
    Refusal(
        "router-with-addresses-and-no-outside",
        "Router",
        {"externalAddresses": ["203.0.113.20"]},
        ("spec.externalAddresses needs spec.externalNetwork",),
    ),
    Refusal("router-with-a-subnet-twice", "Router", {"subnets": ["a", "a"]}, ("spec.subnets", "Duplicate value")),
    Refusal(
        "router-with-route-of-two-families",
        "Router",
        {"routes": [{"destination": "10.9.0.0/16", "nextHop": "fd00::1"}]},
        ("spec.routes", "of one family"),
    ),
    Refusal(
        "router-with-two-routes-to-one-place",
        "Router",
        {
            "routes": [
                {"destination": "10.9.0.0/16", "nextHop": "10.10.0.8"},
                {"destination": "10.9.0.0/16", "nextHop": "10.10.0.9"},
            ]
        },
        ("spec.routes", "the same destination"),
    ),
    floating_ip("of-nothing", "spec.externalNetwork", externalNetwork=None),
    floating_ip("for-a-server-and-a-port", "spec.server and spec.port exclude each other", server="a", port="b"),
    floating_ip("with-fixed-address-of-nobody", "spec.fixedAddress needs", fixedAddress="10.10.0.9"),
    floating_ip("of-ipv6", "spec.address", "floating addresses are IPv4's", address="2001:db8::9"),
    floating_ip("for-ipv6", "spec.fixedAddress", "IPv4 addresses", port="vip", fixedAddress="fd00::9"),
    Refusal("keypair-of-private-key", "KeyPair", {"publicKey": "-----BEGIN OPENSSH PRIVATE KEY-----"}, ("publicKey",)),
    Refusal("keypair-of-two-lines", "KeyPair", {"publicKey": f"{KEY}\n{KEY}\n"}, ("must be one line",)),
    Refusal("group-of-unknown-policy", "ServerGroup", {"policy": "Together"}, ("spec.policy", "AntiAffinity")),
    Refusal(
        "action-start-with-reboot",
        "ServerAction",
        {"server": "one", "action": "Start", "reboot": {"type": "Hard"}},
        ("spec.reboot", "only for spec.action Reboot"),
    ),
    server(
        "with-port-and-addresses",
        "spec.networks[0].addresses",
        "those of the Port",
        networks=[{"network": "blue", "port": "vip", "addresses": ["10.10.0.9"]}],
    ),
    server(
        "with-one-port-twice",
        "spec.networks",
        "the same port",
        networks=[{"network": "blue", "port": "vip"}, {"name": "net1", "network": "blue", "port": "vip"}],
    ),
    Refusal(
        "port-without-filters-and-with-groups",
        "Port",
        {"network": "blue", "portSecurity": False, "securityGroups": ["web"]},
        ("spec.securityGroups", "set spec.securityGroups to []"),
    ),
    Refusal(
        "port-without-filters-and-with-the-default-group",
        "Port",
        {"network": "blue", "portSecurity": False},
        ("spec.securityGroups", "set spec.securityGroups to []"),
    ),
    *(
        Refusal(f"group-{name}", "SecurityGroup", {"rules": [{"direction": "Ingress"} | rule]}, ("spec.rules[0]", part))
        for name, rule, part in (
            ("with-ports-and-no-protocol", {"portMin": 80}, "set protocol to TCP, UDP or SCTP"),
            ("with-ports-of-icmp", {"protocol": "ICMP", "portMin": 80}, "set protocol to TCP, UDP or SCTP"),
            ("with-ports-in-the-wrong-order", {"protocol": "TCP", "portMin": 9, "portMax": 8}, "swap them"),
            ("with-a-last-port-alone", {"protocol": "TCP", "portMax": 8}, "portMax needs portMin"),
            ("with-group-and-cidr", {"remoteGroup": "a", "remoteCIDR": "10.0.0.0/8"}, "exclude each other"),
            ("with-host-bits", {"remoteCIDR": "10.0.0.1/8"}, HOST_BITS),
            ("with-another-family", {"family": "IPv6", "remoteCIDR": "10.0.0.0/8"}, "not of the family"),
            ("with-icmp-of-ipv6", {"protocol": "ICMP", "family": "IPv6"}, "write ICMPv6"),
            ("with-type-of-tcp", {"protocol": "TCP", "icmpType": 8}, "icmpType belongs to ICMP"),
            ("with-unknown-protocol", {"protocol": "tcp"}, "must be TCP, UDP"),
            ("with-large-protocol", {"protocol": "256"}, "from 0 to 255"),
        )
    ),
    Refusal("port-with-broadcast-mac", "Port", {"network": "blue", "macAddress": "ff:ff:ff:ff:ff:ff"}, ("macAddress",)),
    Refusal("port-with-zero-mac", "Port", {"network": "blue", "macAddress": "00:00:00:00:00:00"}, ("no interface",)),
    *(
        Refusal(f"project-{name}", "Project", {}, ("metadata.name", "belong to the cluster"), {"name": name})
        for name in ("default", "kube-system", "nephos-catalog")
    ),
    Refusal("project-with-bad-quota", "Project", {"quota": {"cores": -2}}, ("spec.quota.cores", "-1")),
    Refusal("project-with-large-quota", "Project", {"quota": {"ramMiB": 10**8}}, ("spec.quota.ramMiB",)),
    Refusal(
        "project-with-account-without-namespace",
        "Project",
        {"members": [{"kind": "ServiceAccount", "name": "ci", "role": "Member"}]},
        ("spec.members", "needs a namespace"),
    ),
    Refusal("host-with-zero-ratio", "Host", {"allocationRatio": {"vcpus": 0}}, ("spec.allocationRatio.vcpus",)),
)


@pytest.mark.parametrize("refusal", REFUSED, ids=lambda refusal: refusal.name)
def test_a_bad_manifest_is_refused_with_a_sentence_that_names_the_field(api: Api, refusal: Refusal) -> None:
    spec = {name: value for name, value in refusal.spec.items() if value is not None}
    body = manifest(refusal.kind, spec, **(refusal.metadata or {}))
    api.create(body, dryRun="All").refused(*refusal.parts)


IMMUTABLE: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    ("Flavor", {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1}, {"vcpus": 2}, "spec of a Flavor"),
    ("Server", {"flavor": "tiny", "image": "tiny"}, {"image": "other"}, "spec.image"),
    ("Server", {"flavor": "tiny", "image": "tiny"}, {"flavor": "other"}, "spec.flavor"),
    ("Server", {"flavor": "tiny", "image": "tiny"}, {"userData": "#!/bin/sh"}, "spec.userData"),
    ("Server", {"flavor": "tiny", "image": "tiny", "userData": "#!/bin/sh"}, {"userData": None}, "spec.userData"),
    ("Server", {"flavor": "tiny", "image": "tiny"}, {"serverGroup": "apart"}, "spec.serverGroup"),
    ("Server", {"flavor": "tiny", "image": "tiny", "keyPairs": ["a"]}, {"keyPairs": ["b"]}, "spec.keyPairs"),
    ("Network", {}, {"external": {"physicalNetwork": "ext"}}, "spec.external"),
    (
        "Network",
        {"external": {"physicalNetwork": "ext"}},
        {"external": {"physicalNetwork": "lab"}},
        "spec.external",
    ),
    ("FloatingIP", {"externalNetwork": "public"}, {"externalNetwork": "other"}, "spec.externalNetwork"),
    (
        "FloatingIP",
        {"externalNetwork": "public", "address": "203.0.113.9"},
        {"address": "203.0.113.10"},
        "spec.address",
    ),
    ("FloatingIP", {"externalNetwork": "public"}, {"address": "203.0.113.10"}, "spec.address"),
    ("Subnet", {"network": "blue", "cidr": "10.10.0.0/24"}, {"cidr": "10.11.0.0/24"}, "spec.cidr"),
    ("Subnet", {"network": "blue", "cidr": "10.10.0.0/24"}, {"network": "red"}, "spec.network"),
    ("Subnet", {"network": "blue", "cidr": "10.10.0.0/24"}, {"gateway": "10.10.0.9"}, "spec.gateway"),
    ("Subnet", {"network": "blue", "cidr": "fd00::/64"}, {"ipv6Mode": "SLAAC"}, "spec.ipv6Mode"),
    (
        "Image",
        {"source": {"url": "https://example.org/a"}, "format": "raw"},
        {"source": {"url": "https://example.org/b"}},
        "spec.source",
    ),
    (
        "Image",
        {"source": {"url": "https://example.org/a"}, "format": "raw"},
        {"source": {"sha256": "a" * 64}},
        "spec.source",
    ),
    ("ServerGroup", {"policy": "Affinity"}, {"policy": "AntiAffinity"}, "spec.policy"),
    ("ServerAction", {"server": "one", "action": "Start"}, {"server": "two"}, "spec of a ServerAction"),
    ("Port", {"network": "blue"}, {"network": "red"}, "spec.network"),
    ("Port", {"network": "blue"}, {"addresses": ["10.10.0.9"]}, "spec.addresses"),
    ("Port", {"network": "blue", "macAddress": "52:54:00:00:00:01"}, {"macAddress": "52:54:00:00:00:02"}, "macAddress"),
)


@pytest.mark.parametrize(("kind", "spec", "change", "what"), IMMUTABLE, ids=lambda value: str(value)[:40])
def test_an_immutable_field_can_neither_be_changed_nor_set_nor_removed_later(
    api: Api, kind: str, spec: dict[str, Any], change: dict[str, Any], what: str
) -> None:
    body = manifest(kind, spec)
    api.create(body).accepted()
    try:
        api.patch(body, {"spec": change}).refused(what, "can't be changed after creation")
    finally:
        api.remove(body)


def test_a_mac_address_stays_once_it_is_there(api: Api) -> None:
    body = manifest("Port", {"network": "blue"})
    api.create(body).accepted()
    try:
        api.patch(body, {"spec": {"macAddress": "52:54:00:00:00:01"}}).accepted()
        api.patch(body, {"spec": {"macAddress": None}}).refused("spec.macAddress", "can't be taken away")
    finally:
        api.remove(body)


NIC = {"name": "net0", "network": "blue"}


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        (NIC, {"network": "red"}),
        (NIC, {"addresses": ["10.10.0.9"]}),
        (NIC | {"addresses": ["10.10.0.9"]}, {"addresses": ["10.10.0.8"]}),
        (NIC, {"port": "vip"}),
        (NIC | {"port": "vip"}, {"port": "other"}),
    ],
    ids=str,
)
def test_an_entry_of_a_servers_networks_comes_and_goes_but_never_changes(
    api: Api, entry: dict[str, Any], change: dict[str, Any]
) -> None:
    body = manifest("Server", {"flavor": "tiny", "image": "tiny", "networks": [entry]})
    api.create(body).accepted()
    try:
        api.patch(body, {"spec": {"networks": [entry | change]}}).refused("spec.networks", "take the entry away")
        api.patch(body, {"spec": {"networks": [entry, {"name": "net1", "network": "red"}]}}).accepted()
        api.patch(body, {"spec": {"networks": []}}).accepted()
    finally:
        api.remove(body)
