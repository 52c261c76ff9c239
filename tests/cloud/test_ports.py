"""Ports as their users have them: several on a Server, made by hand, plugged while it runs, kept when it goes."""

from dataclasses import dataclass
from typing import Any

import pytest

from nephos_dev.asking import Guests, eventually, eventually_not
from nephos_dev.cloud import Cloud
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

ANYTHING = {"direction": "Ingress", "remoteCIDR": "0.0.0.0/0"}
MAC = "02:00:5e:00:53:17"
PLUG_BOUND_S = 30.0


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

    def expect_nics(self, server: str, count: int) -> None:
        """Wait until the guest sees so many NICs."""

        def probe() -> None:
            found = self.nics(server)
            if len(found) != count:
                raise NotYet(f"it has {found}")

        wait_for(probe, what=f"{count} NICs in {server}", timeout_s=PLUG_BOUND_S)


@pytest.fixture(scope="module")
def house(cloud: Cloud, project: Tenant, guests: Guests) -> House:
    nics = [{"name": f"net{number}", "network": name} for number, name in enumerate(("red", "green", "blue"))]
    project.apply(
        *network_manifests("red", "10.75.0.0/24"),
        *network_manifests("green", "10.76.0.0/24"),
        *network_manifests("blue", "10.77.0.0/24"),
        manifest("SecurityGroup", "open", rules=[ANYTHING]),
        server_manifest("one", "red", networks=nics, securityGroups=["open"]),
        server_manifest("two", "red", securityGroups=["open"]),
    )
    made = House(cloud, project, guests)
    for name in ("one", "two"):
        made.addresses(name)
    return made


def test_nics_come_in_the_order_of_the_spec_each_with_its_own_address(house: House) -> None:
    ports = [house.project.get("port", f"one-net{number}") for number in range(3)]
    macs = [port["spec"]["macAddress"] for port in ports if port]
    assert house.nics("one") == macs
    for number, address in enumerate(house.addresses("one")):
        assert address.startswith(f"10.{75 + number}.")
        eventually(house.guests.ask("one", f"ip -4 address show dev eth{number}"), address, what=f"eth{number}")


def test_a_nic_is_plugged_into_a_running_server_and_taken_out_again(house: House) -> None:
    before = house.guests.run("two", "cat /proc/sys/kernel/random/boot_id").output
    house.plug("two", {"name": "extra", "network": "green"})
    house.expect_nics("two", 2)
    port = house.project.wait_phase("two-extra", "Active", kind="port")
    address = port["spec"]["allocations"][0]["address"]
    house.guests.run("two", "udhcpc -q -n -t 10 -T 1 -i eth1 -s /etc/boot/dhcp")
    eventually(house.guests.ask("two", "ip -4 address show dev eth1"), address, what="DHCP on the new NIC")
    peer = house.addresses("one")[1]
    eventually(house.guests.ask("two", f"ping -c 1 -W 2 -I eth1 {peer}"), what="a guest on the new NIC's network")
    house.plug("two")
    house.expect_nics("two", 1)
    wait_for(lambda: _gone(house, "two-extra"), what="the Port of the NIC is gone", timeout_s=30)
    assert house.guests.run("two", "cat /proc/sys/kernel/random/boot_id").output == before, "it did not reboot"


def test_a_port_made_by_hand_keeps_mac_and_address_and_moves_from_server_to_server(house: House) -> None:
    wanted = {"network": "blue", "addresses": ["10.77.0.77"], "macAddress": MAC, "securityGroups": ["open"]}
    house.project.apply(manifest("Port", "own", **wanted))
    house.plug("two", {"name": "own", "network": "blue", "port": "own"})
    house.expect_nics("two", 2)
    assert MAC in house.nics("two")
    house.plug("two")
    house.expect_nics("two", 1)
    kept = house.project.wait("port", "own", lambda found: "it is bound" if found["spec"].get("server") else "")
    assert kept["spec"]["allocations"][0]["address"] == "10.77.0.77"

    house.project.apply(
        server_manifest("guest", "red", networks=[{"network": "blue", "port": "own"}], securityGroups=["open"])
    )
    assert house.addresses("guest") == ["10.77.0.77"]
    assert house.nics("guest") == [MAC]
    peer = house.addresses("one")[2]
    eventually(house.guests.ask("guest", f"ping -c 1 -W 2 {peer}"), what="by a port that was another's")
    house.project.delete("server", "guest")
    outlived = house.project.wait("port", "own", lambda found: "it is bound" if found["spec"].get("server") else "")
    assert outlived["spec"]["macAddress"] == MAC
    house.project.delete("port", "own")


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
        assert ping().status, "an address that is not its own"
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


def test_a_port_in_use_waits_with_its_deletion_and_says_for_whom(house: House) -> None:
    house.project.apply(manifest("Port", "held", network="green", securityGroups=["open"]))
    house.plug("two", {"name": "held", "network": "green", "port": "held"})
    house.expect_nics("two", 2)
    house.project.delete("port", "held", wait=False)
    house.project.wait("port", "held", lambda found: "" if "two" in str(found["status"]) else "it does not say")
    house.plug("two")
    wait_for(lambda: _gone(house, "held"), what="the Port goes once it is free", timeout_s=30)


def _gone(house: House, port: str) -> None:
    if house.project.get("port", port) is not None:
        raise NotYet("it is still there")
