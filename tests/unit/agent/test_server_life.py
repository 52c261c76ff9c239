"""A Server on its host, from placement to its end, with everything in memory."""

from __future__ import annotations

import asyncio

import pytest

from nephos_agent.compute.protocol import DomainState, StopReason
from nephos_agent.host import registration
from nephos_agent.server import reconcile
from nephos_api.conditions import ConditionStatus, find, is_true
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.resources import Host, Port, Server, ServerAction

from .conftest import World, eventually

_NOT_COUNTED = {"hosts", "leases", "events"}


def writes_since(world: World, count: int) -> list[str]:
    return [
        f"{write.address.plural} {write.manager}"
        for write in world.api.writes[count:]
        if write.address.plural not in _NOT_COUNTED
    ]


async def reasons_of_events(world: World) -> set[str]:
    found = await world.api.raw("GET", "/api/v1/namespaces/demo/events")
    return {item["reason"] for item in found["items"]} if found else set()


async def test_a_placed_server_becomes_active_with_its_ports(world: World) -> None:
    network = world.add_network()
    server = await world.place(world.add_server(networks=(network,)))
    active = await world.until_phase("one", "Active")
    assert is_true(active.status.conditions, "Ready")
    reconciling = find(active.status.conditions, "Reconciling")
    assert reconciling is not None
    assert reconciling.status is ConditionStatus.FALSE
    assert active.status.observed_generation == 1
    assert set(active.status.phase_transitions) == {"Build", "Active"}
    port = await world.until(Port, "one-net0", lambda port: port.status.phase == "Active")
    assert is_true(port.status.conditions, "Ready")
    assert await world.network.plugged() == {port.uid}
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.state is DomainState.RUNNING


async def test_becoming_active_takes_one_write_and_one_more_a_port(world: World) -> None:
    network = world.add_network()
    server = world.add_server(networks=(network,))
    before = len(world.api.writes)
    await world.place(server)
    await world.until_phase("one", "Active")
    await world.settled()
    assert len(writes_since(world, before)) == 3  # the operator's, the Server's, the Port's


async def test_a_server_at_rest_costs_no_write(world: World) -> None:
    await world.active(networks=(world.add_network(),))
    before = len(world.api.writes)
    assert world.agent
    await world.agent.watches.resync()
    await world.agent.look_at_everything()
    await world.settled()
    assert writes_since(world, before) == []


async def test_ports_that_come_later_are_waited_for_without_a_word(world: World) -> None:
    network = world.add_network()
    server = world.add_server(networks=())
    world.api.seed(
        Server,
        {
            "metadata": {"name": "late", "namespace": "demo"},
            "spec": {"flavor": "tiny", "image": "tiny", "networks": [{"name": "net0", "network": "blue"}]},
        },
    )
    late = await world.place(await world.get(Server, "late"))
    await world.settled()
    assert (await world.get(Server, "late")).status.phase == "Build"
    assert await world.compute.domain(late.uid) is None
    world.add_port(late, "net0", network)
    await world.until_phase("late", "Active")
    assert server.uid != late.uid


async def test_state_shutoff_shuts_the_guest_down_and_active_starts_it(world: World) -> None:
    server = await world.active(networks=(world.add_network(),))
    await world.change("one", state="Shutoff")
    shut = await world.until_phase("one", "Shutoff")
    assert shut.status.stopped_at_generation is None
    assert is_true(shut.status.conditions, "Ready")
    await world.until(Port, "one-net0", lambda port: port.status.phase == "Down")
    await world.settled()
    assert await world.network.plugged() == frozenset()
    await world.change("one", state="Active")
    await world.until_phase("one", "Active")
    await world.until(Port, "one-net0", lambda port: port.status.phase == "Active")
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.state is DomainState.RUNNING


async def test_a_power_off_that_began_is_finished_though_the_user_thinks_again(world: World) -> None:
    world.compute.guests_obey = False
    server = await world.active()
    await world.change("one", state="Shutoff")
    await world.until(
        Server, "one", lambda server: "PoweringOff" in {condition.reason for condition in server.status.conditions}
    )
    await world.settled()
    await world.change("one", state="Active")
    await world.settled()
    world.compute.guest_powers_off(server.uid)
    await world.until_domain(server.uid, lambda domain: domain is not None and domain.state is DomainState.RUNNING)
    await world.settled()
    assert (await world.get(Server, "one")).status.phase == "Active"


async def test_a_server_made_shutoff_has_its_disk_and_does_not_run(world: World) -> None:
    server = await world.place(world.add_server(state="Shutoff"))
    await world.until_phase("one", "Shutoff")
    assert [disk.server_uid for disk in await world.storage.disks()] == [server.uid]
    assert await world.compute.domain(server.uid) is None


async def test_a_guest_that_powers_itself_off_stays_off(world: World) -> None:
    server = await world.active()
    world.compute.guest_powers_off(server.uid)
    shut = await world.until_phase("one", "Shutoff")
    ready = find(shut.status.conditions, "Ready")
    assert ready is not None
    assert (ready.reason, shut.status.stopped_at_generation) == ("GuestPoweredOff", 1)
    await eventually(lambda: reasons_of_events(world), lambda reasons: "GuestPoweredOff" in reasons)
    await world.restart()
    await world.settled()
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.state is DomainState.SHUTOFF
    await world.change("one", metadata={"a": "b"})
    await world.until_phase("one", "Active")


@pytest.mark.parametrize(
    ("policy", "event", "phase"),
    [
        ("Never", "guest_powers_off", "Shutoff"),
        ("Never", "guest_dies", "Shutoff"),
        ("OnFailure", "guest_powers_off", "Shutoff"),
        ("OnFailure", "guest_dies", "Active"),
        ("Always", "guest_powers_off", "Active"),
        ("Always", "guest_dies", "Active"),
    ],
)
async def test_the_restart_policy_says_what_an_end_means(world: World, policy: str, event: str, phase: str) -> None:
    server = await world.active(restartPolicy=policy)
    getattr(world.compute, event)(server.uid)
    await world.until_phase("one", phase)
    wanted = DomainState.RUNNING if phase == "Active" else DomainState.SHUTOFF
    await world.until_domain(server.uid, lambda domain: domain is not None and domain.state is wanted)


async def test_a_guest_that_keeps_ending_is_left_off_for_a_while(world: World) -> None:
    server = await world.active(restartPolicy="Always")
    for _ in range(2):
        world.compute.guest_dies(server.uid)
        await world.settled()
    shut = await world.until_phase("one", "Shutoff")
    ready = find(shut.status.conditions, "Ready")
    assert ready is not None
    assert ready.reason == "RestartBackoff"


async def test_a_host_that_comes_back_starts_what_it_had(world: World) -> None:
    server = await world.active()
    await world.end()
    world.compute.switch_off_host()
    await world.start()
    await world.until_domain(server.uid, lambda domain: domain is not None and domain.state is DomainState.RUNNING)


async def test_shutoff_but_found_running_is_stopped_again(world: World) -> None:
    server = await world.active()
    await world.change("one", state="Shutoff")
    await world.until_phase("one", "Shutoff")
    await world.compute.start_paused(server.uid)
    await world.compute.resume(server.uid)
    await world.until_domain(server.uid, lambda domain: domain is not None and domain.stop_reason is not None)
    await world.until_phase("one", "Shutoff")


async def test_a_disk_error_shows_as_paused_and_the_guest_goes_on(world: World) -> None:
    server = await world.active()
    world.compute.disk_fails(server.uid)
    await world.until_domain(server.uid, lambda domain: domain is not None and domain.state is DomainState.RUNNING)


async def test_a_guest_of_a_full_disk_tries_again_once_in_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await world.active()
    world.compute.failing_writes[server.uid] = 100
    world.compute.disk_fails(server.uid)
    await world.until_phase("one", "Paused")
    await world.settled()
    assert world.compute.failing_writes[server.uid] >= 99, "its own events are no reason to try again"
    assert (await world.get(Server, "one")).status.phase == "Paused"
    monkeypatch.setattr(reconcile, "_DISK_ERROR_RETRY_S", 0.01)
    await world.restart()
    world.compute.failing_writes[server.uid] = 3
    await world.until_phase("one", "Active")


async def test_a_start_that_was_cut_off_is_made_anew(world: World) -> None:
    server = await world.active(networks=(world.add_network(),))
    world.compute.cut_start_off(server.uid)
    await world.until_domain(server.uid, lambda domain: domain is not None and domain.state is DomainState.RUNNING)
    await world.until_phase("one", "Active")


async def test_a_server_whose_start_was_cut_off_can_be_deleted(world: World) -> None:
    server = await world.active(networks=(world.add_network(),))
    await world.api.delete(Server, "one", "demo")
    world.compute.cut_start_off(server.uid)
    await world.until(Server, "one", lambda gone: is_true(gone.status.conditions, "Released"))
    assert await world.compute.domain(server.uid) is None


async def test_a_guest_that_reboots_is_an_event_without_a_write(world: World) -> None:
    server = await world.active()
    before = len(world.api.writes)
    world.compute.guest_reboots(server.uid)
    await world.settled()
    assert writes_since(world, before) == []


async def test_deletion_leaves_nothing_and_says_released(world: World) -> None:
    server = await world.active(networks=(world.add_network(),))
    await world.api.delete(Server, "one", "demo")
    gone = await world.until_phase("one", "Deleting")
    assert is_true(gone.status.conditions, "Released")
    assert await world.compute.domain(server.uid) is None
    assert await world.storage.disks() == ()
    assert await world.network.plugged() == frozenset()


async def test_a_server_that_is_deleted_before_it_was_built_is_released_too(world: World) -> None:
    await world.end()
    await world.place(world.add_server(networks=(world.add_network(),)))
    await world.api.delete(Server, "one", "demo")
    await world.start()
    gone = await world.until_phase("one", "Deleting")
    assert is_true(gone.status.conditions, "Released")


async def test_what_does_not_fit_is_refused_and_not_built(world: World) -> None:
    server = world.add_server()
    await world.place(server, epoch=3, flavor=FLAVOR_TOO_LARGE)
    refused = await world.until(Server, "one", lambda server: server.status.placement_refused is not None)
    assert refused.status.placement_refused is not None
    assert refused.status.placement_refused.epoch == 3
    assert "memory" in refused.status.placement_refused.reason
    assert refused.status.phase == "Build"
    assert await world.compute.domain(server.uid) is None
    await world.place(server, epoch=4)
    active = await world.until_phase("one", "Active")
    assert active.status.placement_refused is None


FLAVOR_TOO_LARGE = {"name": "large", "vcpus": 1, "memoryMiB": 4096, "diskGiB": 1}


async def test_of_two_that_fit_alone_only_one_is_built(world: World) -> None:
    half = {"name": "half", "vcpus": 1, "memoryMiB": 2000, "diskGiB": 1}
    await asyncio.gather(
        world.place(world.add_server("one"), flavor=half), world.place(world.add_server("two"), flavor=half)
    )

    async def phases() -> list[str]:
        return sorted([str((await world.get(Server, name)).status.phase) for name in ("one", "two")])

    await eventually(phases, lambda found: "Active" in found)
    await world.settled()
    assert await phases() == ["Active", "Build"]


async def test_no_status_is_written_once_the_server_was_placed_elsewhere(world: World) -> None:
    server = await world.active()
    await world.place(server, epoch=2, host="h2")
    before = len(world.api.writes)
    world.compute.guest_powers_off(server.uid)
    await world.settled()
    assert writes_since(world, before) == []
    assert await world.compute.domain(server.uid) is not None


async def test_a_hypervisor_that_is_away_changes_no_status(world: World) -> None:
    await world.active()
    before = len(world.api.writes)
    world.compute.lose_connection()
    assert world.agent
    await world.agent.look_at_everything()
    await world.settled()
    assert writes_since(world, before) == []
    world.compute.regain_connection()
    await world.settled()
    assert (await world.get(Server, "one")).status.phase == "Active"


async def test_an_api_that_is_away_stops_nothing(world: World) -> None:
    server = await world.active(networks=(world.add_network(),))
    world.api.set_available(False)
    world.compute.guest_powers_off(server.uid)
    await world.refused()
    assert await world.compute.domain(server.uid) is not None
    world.api.set_available(True)
    await world.until_phase("one", "Shutoff")


async def test_an_api_that_lost_everything_costs_no_guest_and_no_network(world: World) -> None:
    network = world.add_network()
    server = await world.active(networks=(network,))
    await world.end()
    world.api = MemoryKubernetes()  # restored from a backup that knew nothing of them
    await world.start()
    await world.settled()
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.state is DomainState.RUNNING
    assert await world.network.networks() == {network.uid}
    assert len(await world.network.plugged()) == 1


async def test_a_port_that_vanishes_does_not_cut_off_its_guest(world: World) -> None:
    network = world.add_network()
    await world.active(networks=(network,))
    await world.api.delete(Port, "one-net0", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net0"), ())
    await world.settled()
    assert await world.network.networks() == {network.uid}
    assert len(await world.network.plugged()) == 1


async def test_a_network_goes_with_its_last_port(world: World) -> None:
    network = world.add_network()
    await world.active(networks=(network,))
    await world.api.delete(Server, "one", "demo")
    await world.until_phase("one", "Deleting")
    await world.api.set_finalizers(await world.get(Server, "one"), ())
    await world.api.delete(Port, "one-net0", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net0"), ())
    await eventually(world.network.networks, lambda networks: not networks)


@pytest.mark.parametrize("moment", range(1, 12))
async def test_an_agent_that_dies_at_any_moment_of_a_start_converges(world: World, moment: int) -> None:
    server = await world.place(world.add_server(networks=(world.add_network(),)))
    for _ in range(moment):
        await asyncio.sleep(0)
    await world.restart()
    await world.until_phase("one", "Active")
    await world.until(Port, "one-net0", lambda port: port.status.phase == "Active")
    assert [domain.server_uid for domain in await world.compute.domains()] == [server.uid]


async def test_the_start_action_starts_a_server_that_powered_itself_off(world: World) -> None:
    server = await world.active()
    world.compute.guest_powers_off(server.uid)
    await world.until_phase("one", "Shutoff")
    await world.act(server, "start-it", action="Start")
    done = await world.until(ServerAction, "start-it", lambda action: action.status.phase == "Succeeded")
    assert done.status.started_at
    assert done.status.finished_at
    active = await world.until_phase("one", "Active")
    assert active.status.stopped_at_generation is None


async def test_the_start_action_fails_where_spec_state_says_shutoff(world: World) -> None:
    server = await world.place(world.add_server(state="Shutoff"))
    await world.until_phase("one", "Shutoff")
    await world.act(server, "start-it", action="Start")
    failed = await world.until(ServerAction, "start-it", lambda action: action.status.phase == "Failed")
    assert failed.status.message
    assert "spec.state" in failed.status.message


@pytest.mark.parametrize("how", ["Soft", "Hard"])
async def test_a_reboot_takes_place_once(world: World, how: str) -> None:
    server = await world.active()
    await world.act(server, "reboot-it", action="Reboot", reboot={"type": how})
    await world.until(ServerAction, "reboot-it", lambda action: action.status.phase == "Succeeded")
    await world.until_phase("one", "Active")
    await world.settled()
    await world.restart()
    await world.settled()
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.resets == 1
    phases = (await world.get(Server, "one")).status.phase_transitions
    assert ("HardReboot" if how == "Hard" else "Reboot") in phases


async def test_a_reboot_that_was_begun_is_not_begun_again_after_a_restart(world: World) -> None:
    world.compute.guests_obey = False
    server = await world.active()
    await world.act(server, "reboot-it", action="Reboot")
    await world.until(ServerAction, "reboot-it", lambda action: action.status.phase == "Running")
    await world.until_phase("one", "Reboot")
    world.compute.guests_obey = True
    await world.restart()
    await world.until(ServerAction, "reboot-it", lambda action: action.status.phase == "Succeeded")
    await world.until_phase("one", "Active")
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.resets == 0


async def test_actions_are_done_one_after_the_other(world: World) -> None:
    server = await world.active()
    for number in range(3):
        await world.act(server, f"reboot-{number}", action="Reboot", reboot={"type": "Hard"})
    for number in range(3):
        await world.until(ServerAction, f"reboot-{number}", lambda action: action.status.phase == "Succeeded")
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.resets == 3


async def test_a_foreign_domain_in_the_way_is_an_error_that_says_so(world: World) -> None:
    server = world.add_server()
    world.compute.occupy(server.uid)
    await world.place(server)
    failed = await world.until_phase("one", "Error")
    stalled = find(failed.status.conditions, "Stalled")
    assert stalled is not None
    assert stalled.reason == "ForeignDomain"


async def test_the_host_says_what_it_has_and_has_promised(world: World) -> None:
    await world.active()
    host = await world.until(Host, "h1", lambda host: host.status.capacity is not None)
    assert host.status.address == "192.0.2.11"
    assert host.status.capacity is not None
    assert (host.status.capacity.vcpus, host.status.capacity.memory_mib) == (4, 4096)
    assert host.status.machine_types == ("pc", "q35")


async def test_a_stop_reason_that_the_hypervisor_forgets_is_kept_in_the_status(world: World) -> None:
    server = await world.active()
    world.compute.guest_powers_off(server.uid)
    await world.until_phase("one", "Shutoff")
    world.compute.switch_off_host()
    await world.settled()
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.stop_reason is StopReason.NEVER_STARTED
    ready = find((await world.get(Server, "one")).status.conditions, "Ready")
    assert ready is not None
    assert ready.reason == "GuestPoweredOff"


async def test_a_guest_that_ignores_the_power_button_is_cut_off_after_its_time(world: World) -> None:
    world.patience_s = 0.05
    await world.restart()
    world.compute.guests_obey = False
    await world.active()
    await world.change("one", state="Shutoff")
    shut = await world.until_phase("one", "Shutoff")
    ready = find(shut.status.conditions, "Ready")
    assert ready is not None
    assert ready.reason == "Shutoff"


async def test_a_guest_that_ignores_a_reboot_has_its_power_reset_after_its_time(world: World) -> None:
    world.patience_s = 0.05
    await world.restart()
    world.compute.guests_obey = False
    server = await world.active()
    await world.act(server, "reboot-it", action="Reboot")
    done = await world.until(ServerAction, "reboot-it", lambda action: action.status.phase == "Succeeded")
    assert done.status.message == "The guest did not reboot in time; its power was reset."
    await world.until_phase("one", "Active")
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.resets == 1


async def test_a_host_whose_object_was_deleted_registers_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_AT_MOST_EVERY_S", 0.01)
    await world.restart()
    first = await eventually(lambda: world.api.get(Host, "h1"), lambda host: host is not None)
    assert first is not None
    await world.api.delete(Host, "h1")
    await eventually(lambda: world.api.get(Host, "h1"), lambda host: host is not None and host.uid != first.uid)


async def test_an_orphans_network_keeps_what_the_api_does_not_know(world: World) -> None:
    network = world.add_network()
    await world.active("stays", networks=(network,))
    await world.active("one", networks=(network,))
    await world.end()
    for kind, name in ((Port, "one-net0"), (Server, "one")):
        await world.api.delete(kind, name, "demo")
        await world.api.set_finalizers(await world.get(kind, name), ())
    await world.start()
    await world.settled()
    assert len(await world.network.plugged()) == 2


async def test_a_domain_that_the_api_forgot_still_takes_its_room(world: World) -> None:
    large = {"name": "large", "vcpus": 1, "memoryMiB": 3000, "diskGiB": 1}
    await world.place(world.add_server("forgotten"), flavor=large)
    await world.until_phase("forgotten", "Active")
    await world.end()
    world.api = MemoryKubernetes()
    await world.start()
    await world.place(world.add_server("new"), flavor=large)
    refused = await world.until(Server, "new", lambda server: server.status.placement_refused is not None)
    assert refused.status.phase == "Build"
