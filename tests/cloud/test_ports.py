"""Ports as their users have them: several on a Server, made by hand, plugged while it runs, kept when it goes."""

from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nephos_dev.asking import Ask, Guests, eventually, eventually_not
from nephos_dev.cloud import Cloud
from nephos_dev.environment import AGENT_METRICS_PORT
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

ANYTHING = {"direction": "Ingress", "remoteCIDR": "0.0.0.0/0"}
MAC = "02:00:5e:00:53:17"
STOLEN = "10.75.0.203"
PLUG_BOUND_S = 30.0
WAYS = ("Ingress", "Egress")
Counts = dict[tuple[str, ...], float]
PORT_METRICS = {
    "bytes": "nephos_port_bytes_total",
    "packets": "nephos_port_packets_total",
    "dropped": "nephos_port_dropped_packets_total",
}


@dataclass(frozen=True)
class House:
    """A Server `one` on three networks, and a Server `two` on the first of them."""

    cloud: Cloud
    project: Tenant
    guests: Guests

    def addresses(self, server: str) -> list[str]:
        """Return a Server's addresses, in the order of its NICs."""
        found = self.project.wait_phase(server, "Active")
        return [entry["address"] for entry in found["status"]["addresses"]]

    def nics(self, server: str) -> list[str]:
        """Return the MAC addresses that the guest sees, in the order of its kernel's names."""
        listed = self.guests.run(server, "cat /sys/class/net/eth*/address").output
        return listed.split()

    def plug(self, server: str, *entries: dict[str, Any]) -> None:
        """Let a Server have these NICs beside its first one."""
        self.project.patch_spec("server", server, {"networks": [{"name": "net0", "network": "red"}, *entries]})

    def counted(self, port: str) -> Counts:
        """Return what the metrics of its host's agent say of a Port, by what is counted, direction and reason."""
        found = self.project.get("port", port)
        assert found is not None
        (host,) = (each for each in self.cloud.hosts if each.name == found["spec"]["host"])
        url = f"http://{host.address}:{AGENT_METRICS_PORT}/metrics"
        text = self.cloud.execute(host, "curl", "-sf", url).stdout
        own = {"namespace": self.project.name, "port": port}
        return {
            tuple(
                part for part in (what, sample.labels["direction"], sample.labels.get("reason")) if part
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            for what in ("bytes", "packets", "dropped")
            if sample.name == PORT_METRICS[what] and own.items() <= sample.labels.items()
        }

    def expect_nics(self, server: str, count: int) -> None:
        """Wait until the guest sees so many NICs."""

        def probe() -> None:
            found = self.nics(server)
            if len(found) != count:
                raise NotYet(f"it has {found}")

        wait_for(probe, what=f"{count} NICs in {server}", timeout_s=PLUG_BOUND_S)


@pytest.fixture(scope="module")
def house(cloud: Cloud, project: Tenant, guests: Guests) -> House:
    nics = [
        {"name": "net0", "network": "red"},
        {"name": "net1", "network": "green"},
        {"name": "net2", "network": "blue", "port": "own"},
    ]
    project.apply(
        *network_manifests("red", "10.75.0.0/24"),
        *network_manifests("green", "10.76.0.0/24"),
        *network_manifests("blue", "10.77.0.0/24"),
        manifest("SecurityGroup", "open", rules=[ANYTHING]),
        manifest("Port", "own", network="blue", addresses=["10.77.0.77"], macAddress=MAC, securityGroups=["open"]),
        server_manifest("one", "red", networks=nics, securityGroups=["open"]),
        server_manifest("two", "red", securityGroups=["open"]),
    )
    made = House(cloud, project, guests)
    for name in ("one", "two"):
        made.addresses(name)
    return made


def test_nics_come_in_the_order_of_the_spec_each_with_its_own_address(house: House) -> None:
    ports = [house.project.get("port", name) for name in ("one-net0", "one-net1", "own")]
    macs = [port["spec"]["macAddress"] for port in ports if port]
    wait_for(lambda: _has_nics(house, "one", macs), what="NICs in the order of the spec", timeout_s=PLUG_BOUND_S)
    assert (macs[2], house.addresses("one")[2]) == (MAC, "10.77.0.77"), "as the Port made by hand asks for"
    for number, address in enumerate(house.addresses("one")):
        assert address.startswith(f"10.{75 + number}.")
        eventually(house.guests.ask("one", f"ip -4 address show dev eth{number}"), address, what=f"eth{number}")


def _has_nics(house: House, server: str, macs: list[str]) -> None:
    # The guest's DHCP clients of the later NICs speak on the console too while it boots.
    if (found := house.nics(server)) != macs:
        raise NotYet(f"it has {found}")


def test_a_port_that_is_disabled_passes_nothing_until_it_is_enabled(house: House) -> None:
    ping = house.guests.ask("one", f"ping -c 1 -W 1 {house.addresses('two')[0]}")
    eventually(ping, what="two answers")
    house.project.patch_spec("port", "two-net0", {"enabled": False})
    eventually_not(ping, what="a port that is disabled", timeout_s=15)
    house.project.patch_spec("port", "two-net0", {"enabled": True})
    eventually(ping, what="a port that is enabled again", timeout_s=15)


def test_a_guest_uses_its_own_address_and_those_that_its_port_allows_and_no_other(house: House) -> None:
    other = "10.75.0.200"
    target = house.addresses("two")[0]
    assert house.guests.run("one", f"ip address add {other}/24 dev eth0").status == 0
    ping = house.guests.ask("one", f"ping -c 1 -W 1 -I {other} {target}")
    try:
        eventually(house.guests.ask("one", f"ping -c 1 -W 2 {target}"), what="its own address")
        eventually_not(ping, what="an address that is not its own", timeout_s=15)
        house.project.patch_spec("port", "one-net0", {"allowedAddressPairs": [{"address": other}]})
        eventually(ping, what="an address that the port allows", timeout_s=15)
        house.project.patch_spec("port", "one-net0", {"allowedAddressPairs": []})
        eventually_not(ping, what="an address that it no longer allows", timeout_s=15)
    finally:
        house.guests.run("one", f"ip address del {other}/24 dev eth0")


def test_a_port_without_port_security_may_use_any_address(house: House) -> None:
    other, target = "10.75.0.201", house.addresses("two")[0]
    house.project.patch_spec("port", "one-net0", {"portSecurity": False, "securityGroups": []})
    assert house.guests.run("one", f"ip address add {other}/24 dev eth0").status == 0
    try:
        eventually(house.guests.ask("one", f"ping -c 1 -W 1 -I {other} {target}"), what="any address", timeout_s=15)
    finally:
        house.guests.run("one", f"ip address del {other}/24 dev eth0")
        house.project.patch_spec("port", "one-net0", {"portSecurity": None, "securityGroups": ["open"]})


def test_a_network_without_port_security_lets_its_ports_use_any_address(house: House) -> None:
    other, target = "10.75.0.202", house.addresses("two")[0]
    assert house.guests.run("one", f"ip address add {other}/24 dev eth0").status == 0
    ping = house.guests.ask("one", f"ping -c 1 -W 1 -I {other} {target}")
    try:
        eventually(house.guests.ask("one", f"ping -c 1 -W 2 {target}"), what="its own address")
        eventually_not(ping, what="an address that is not its own", timeout_s=15)
        house.project.patch_spec("network", "red", {"portSecurity": False})
        eventually(ping, what="any address", timeout_s=15)
        house.project.patch_spec("network", "red", {"portSecurity": True})
        eventually_not(ping, what="an address that is not its own, again", timeout_s=15)
    finally:
        house.guests.run("one", f"ip address del {other}/24 dev eth0")
        house.project.patch_spec("network", "red", {"portSecurity": True})


def test_the_agent_counts_what_passes_a_port_and_what_is_dropped_and_why(house: House) -> None:
    target = house.addresses("two")[0]
    ping = house.guests.ask("one", f"ping -c 3 -W 1 -s 1000 {target}")
    eventually(ping, what="two answers")
    before, passed = wait_for(lambda: _counted_around(house, ping), what="counts of a ping alone", timeout_s=60)
    for direction in WAYS:
        assert passed["bytes", direction] >= before["bytes", direction] + 3 * 1000
        assert passed["packets", direction] >= before["packets", direction] + 3
    house.project.patch_spec("port", "two-net0", {"securityGroups": []})
    try:
        eventually_not(ping, what="a port without groups", timeout_s=15)
    finally:
        house.project.patch_spec("port", "two-net0", {"securityGroups": ["open"]})
    assert house.counted("two-net0")["dropped", "Ingress", "NotAllowed"] > passed["dropped", "Ingress", "NotAllowed"]
    assert house.guests.run("two", f"ip address add {STOLEN}/24 dev eth0").status == 0
    assert house.guests.run("two", f"ping -c 1 -W 1 -I {STOLEN} {house.addresses('one')[0]}").status
    house.guests.run("two", f"ip address del {STOLEN}/24 dev eth0")
    assert house.counted("two-net0")["dropped", "Egress", "Spoofed"] > passed["dropped", "Egress", "Spoofed"]


def _counted_around(house: House, ping: Ask) -> tuple[Counts, Counts]:
    """Return what was counted before and after a ping in which nothing was dropped: guests solicit routers at first."""
    before = house.counted("two-net0")
    answer = ping()
    passed = house.counted("two-net0")
    dropped = [passed["dropped", way, "NotAllowed"] - before["dropped", way, "NotAllowed"] for way in WAYS]
    if answer.status or any(dropped):
        raise NotYet(f"{answer.output}; dropped meanwhile: {dropped}")
    return before, passed


def test_a_port_in_use_waits_with_its_deletion_and_says_for_whom(house: House) -> None:
    house.project.apply(manifest("Port", "held", network="green", securityGroups=["open"]))
    house.plug("two", {"name": "held", "network": "green", "port": "held"})
    house.expect_nics("two", 2)
    house.project.delete("port", "held", wait=False)
    wait_for(lambda: _told(house, "held", "held by Server two"), what="the Port says who has it", timeout_s=30)
    house.plug("two")
    wait_for(lambda: _gone(house, "held"), what="the Port goes once it is free", timeout_s=30)


def _told(house: House, port: str, sentence: str) -> None:
    described = house.project.cluster.kubectl("describe", "port", port, f"--namespace={house.project.name}")
    if sentence not in described:
        raise NotYet(described)


def _gone(house: House, port: str) -> None:
    if house.project.get("port", port) is not None:
        raise NotYet("it is still there")
