"""Processes are killed at random moments of create and delete; afterwards nothing is lost, twice or orphaned.

All the time one guest pings another, and the outside a floating IP.

`NEPHOS_CHAOS_KILLS` says how many kills (12 unless told), `NEPHOS_CHAOS_SEED` repeats a run.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloud.sound import wait_sound
from nephos_dev.asking import eventually, outside
from nephos_dev.cloud import Cloud
from nephos_dev.console import Console
from nephos_dev.pings import Pings, from_guest, from_outside
from nephos_dev.progress import FailureError
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, passing, wait_for

KILLS = int(os.environ.get("NEPHOS_CHAOS_KILLS", "12"))
SEED = int(os.environ.get("NEPHOS_CHAOS_SEED", str(random.SystemRandom().randrange(1_000_000))))
PAIR = ("north", "south")
MOST_PAUSE_S = 1.5


def components(cloud: Cloud) -> tuple[str, ...]:
    """Return what may be killed: every process of ours, libvirtd, and the API server."""
    inside = [f"{host.name}/{part}" for host in cloud.hosts for part in ("agent", "libvirtd")]
    return ("operator-1", "operator-2", "image-service", "kube-apiserver", *inside)


@dataclass
class Churn:
    """Creates and deletes Servers all the time, and knows which of them should be there."""

    tenant: Tenant
    dice: random.Random
    alive: set[str] = field(default_factory=set)
    count: int = 0

    def step(self) -> None:
        """Create or delete one Server; tried again while the API server is away."""
        if self.alive and (len(self.alive) >= 4 or self.dice.random() < 0.4):
            name = self.dice.choice(sorted(self.alive))
            _insist(lambda: self.tenant.delete("server", name, "--ignore-not-found", wait=False))
            self.alive.discard(name)
            return
        self.count += 1
        name = f"storm-{self.count}"
        _insist(lambda: self.tenant.apply(server_manifest(name, "blue")))
        self.alive.add(name)


def test_kills_at_random_moments_cost_nothing_but_time(cloud: Cloud, tenant: Tenant) -> None:
    print(f"NEPHOS_CHAOS_SEED={SEED}")
    dice = random.Random(SEED)  # noqa: S311  # why: repeatable on purpose
    placed = _start_pair(tenant)
    floating = _give_address(cloud, tenant)
    before = _processes_of_guests(cloud, placed)
    churn = Churn(tenant, dice)
    with (
        _ping_between(cloud, tenant, placed["south"]) as between,
        from_outside(cloud.layout, floating, every_s=1) as outside_in,
        _killing(cloud, dice) as killed,
    ):
        while len(killed) < KILLS:
            churn.step()
    print("killed:", *killed)
    for name in sorted(churn.alive):
        tenant.wait_phase(name, "Active", timeout_s=120)
    wait_sound(cloud, timeout_s=120)
    wait_for(lambda: _only(tenant, churn.alive | set(PAIR)), what="the Servers that were not deleted", timeout_s=60)
    assert _processes_of_guests(cloud, placed) == before, "a guest was started again"
    assert between.lost == 0, "pings of a running pair were lost"
    assert outside_in.lost == 0, "pings of a floating IP were lost"


@pytest.mark.parametrize("component", ["operator", "agent", "libvirtd", "kube-apiserver"])
@pytest.mark.parametrize("moment", ["create", "delete"])
def test_a_kill_in_the_middle_converges(cloud: Cloud, tenant: Tenant, component: str, moment: str) -> None:
    tenant.apply(*network_manifests("blue", "10.50.0.0/24"))
    if moment == "delete":
        tenant.apply(server_manifest("one", "blue"))
        tenant.wait_phase("one", "Active")
        tenant.delete("server", "one", wait=False)
    else:
        tenant.apply(server_manifest("one", "blue"))
    victims = [name for name in components(cloud) if component in name]
    killed = {victim: cloud.kill(victim) for victim in victims}
    for victim, pid in killed.items():
        cloud.wait_restarted(victim, killed=pid)
    if moment == "create":
        tenant.wait_phase("one", "Active", timeout_s=120)
    else:
        wait_for(lambda: _absent(tenant, "one"), what="the Server is gone", timeout_s=120)
    wait_sound(cloud, timeout_s=120)


def _start_pair(tenant: Tenant) -> dict[str, dict[str, Any]]:
    group = {
        "apiVersion": "nephos.cloud/v1alpha1",
        "kind": "ServerGroup",
        "metadata": {"name": "apart"},
        "spec": {"policy": "AntiAffinity"},
    }
    tenant.apply(*network_manifests("blue", "10.50.0.0/24"), group)
    tenant.apply(*(server_manifest(name, "blue", serverGroup="apart") for name in PAIR))
    return {name: tenant.wait_phase(name, "Active") for name in PAIR}


def _give_address(cloud: Cloud, tenant: Tenant) -> str:
    """Let the outside reach `north`; return by which address."""
    tenant.apply(
        manifest("Router", "edge", externalNetwork="public", subnets=["blue-v4"]),
        manifest("SecurityGroup", "pinged", rules=[{"direction": "Ingress", "protocol": "ICMP"}]),
        manifest("FloatingIP", "north", externalNetwork="public", server="north"),
    )
    tenant.patch_spec("server", "north", {"securityGroups": ["default", "pinged"]})
    address = str(tenant.wait_phase("north", "Active", kind="floatingip")["status"]["address"])
    eventually(outside(cloud.layout, "ping", "-c", "1", "-W", "2", address), what=f"the outside reaches {address}")
    return address


def _processes_of_guests(cloud: Cloud, placed: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the process ID of QEMU for each Server: the same one, if the guest went on."""
    found = {}
    for name, server in placed.items():
        host = next(host for host in cloud.hosts if host.name == server["status"]["host"])
        found[name] = cloud.execute(host, "pgrep", "-f", f"uuid {server['metadata']['uid']}").stdout.split()[0]
    return found


@contextmanager
def _ping_between(cloud: Cloud, tenant: Tenant, target: dict[str, Any]) -> Iterator[Pings]:
    """Have the guest `north` ping the other one all the time."""
    address = target["status"]["addresses"][0]["address"]
    with cloud.console(tenant.name, "north") as console:
        console.log_in()
        wait_for(lambda: _reached(console, address), what=f"north reaches {address}", timeout_s=60)
        with from_guest(console, address, every_s=1) as pings:
            yield pings


def _reached(console: Console, address: str) -> None:
    if console.run(f"ping -c 1 -W 2 {address}").status:
        raise NotYet("no answer")


@contextmanager
def _killing(cloud: Cloud, dice: random.Random) -> Iterator[list[str]]:
    """Kill something every now and then, in a thread; each victim is back before the next one dies."""
    killed: list[str] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def kill_on() -> None:
        try:
            while not over.wait(dice.uniform(0.05, MOST_PAUSE_S)) and len(killed) < KILLS:
                victim = dice.choice(components(cloud))
                try:
                    pid = cloud.kill(victim)
                except (FailureError, ProcessLookupError):  # why: it is being started again already
                    continue
                cloud.wait_restarted(victim, killed=pid)
                killed.append(victim)
        except BaseException as error:  # noqa: BLE001  # why: handed to the test, which raises it
            failures.append(error)
            killed.extend(["nothing"] * KILLS)

    thread = threading.Thread(target=kill_on)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]


def _insist(call: Callable[[], object]) -> None:
    """Do it again while the API server is away."""

    def probe() -> None:
        with passing(FailureError):
            call()

    wait_for(probe, what="the API server takes the request", timeout_s=60)


def _only(tenant: Tenant, names: set[str]) -> None:
    there = {server["metadata"]["name"] for server in tenant.all_of("server")}
    if there != names:
        raise NotYet(f"there are {sorted(there)}, not {sorted(names)}")


def _absent(tenant: Tenant, name: str) -> None:
    with passing(FailureError):
        found = tenant.get("server", name)
    if found is not None:
        raise NotYet("it is still there")
