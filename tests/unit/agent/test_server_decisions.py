"""The tables behind a Server's life: what should be, what is done about it, what is said of it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.compute.protocol import Domain, DomainState, PauseReason, StopReason
from nephos_agent.server import capacity, status
from nephos_agent.server.actions import Asked, Move, decide, pending
from nephos_agent.server.memory import Memory
from nephos_agent.server.plan import STEPS, Step, plan
from nephos_agent.server.power import (
    POWERING_OFF,
    Found,
    Power,
    found,
    restart_delay_s,
    stopped_at_generation,
    wanted,
)
from nephos_agent.server.status import Outcome
from nephos_api.conditions import find, is_true, reconciling
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.host import AllocationRatio, HostSpec, Reserved, Resources
from nephos_api.resources.server import RestartPolicy, Server, ServerFlavor, ServerPhase
from nephos_api.resources.server_action import ServerAction

NOW = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-01T00:00:01.000000Z"


def server(
    phase: str | None = "Active", *, stopped_at: int | None = None, deleting: bool = False, **spec: Any
) -> Server:
    metadata: dict[str, Any] = {"name": "one", "namespace": "demo", "uid": "u", "generation": 2}
    if deleting:
        metadata["deletionTimestamp"] = NOW
    return Server.model_validate(
        {
            "metadata": metadata,
            "spec": {"flavor": "tiny", "image": "tiny"} | spec,
            "status": {"phase": phase, "host": "h1", "placementEpoch": 1, "stoppedAtGeneration": stopped_at},
        }
    )


def powering_off(it: Server) -> Server:
    conditions = reconciling(POWERING_OFF, "", now=NOW, generation=2)
    return it.model_copy(update={"status": it.status.model_copy(update={"conditions": conditions})})


def domain(
    state: DomainState = DomainState.RUNNING,
    *,
    stop: StopReason | None = None,
    pause: PauseReason | None = None,
    resets: int = 0,
) -> Domain:
    return Domain("u", "demo.one.u", "demo", "one", state, stop, "hash", 1, 1, 128, pause, resets)


def off(reason: StopReason) -> Domain:
    return domain(DomainState.SHUTOFF, stop=reason)


def test_every_meeting_of_power_and_state_has_its_steps() -> None:
    assert set(STEPS) == set(product(Power, Found))


@pytest.mark.parametrize(("power", "state"), list(product(Power, Found)))
@pytest.mark.parametrize(("plugged", "wired"), list(product([True, False], repeat=2)))
def test_no_cpu_runs_and_no_nic_sends_before_its_ports_are_filtered(
    power: Power, state: Found, plugged: bool, wired: bool
) -> None:
    groups = plan(power, state, plugged=plugged, unplugged=not plugged, wired=wired)
    steps = [step for group in groups for step in group]
    if Step.RESUME in steps and state is not Found.DISK_ERROR:
        assert steps.index(Step.PLUG) < steps.index(Step.RESUME)


@pytest.mark.parametrize("state", list(Found))
def test_what_is_to_go_is_off_before_its_disk_is_deleted(state: Found) -> None:
    groups = plan(Power.GONE, state, plugged=True, unplugged=False)
    assert groups[-1] == (Step.DELETE_DISK,)
    assert {Step.UNDEFINE, Step.UNPLUG} <= {step for group in groups for step in group}
    if state not in {Found.ABSENT, Found.OFF}:
        assert groups[0] == (Step.DESTROY,)


@pytest.mark.parametrize("state", [Found.ABSENT, Found.OFF, Found.RUNNING, Found.BUSY])
def test_a_running_guest_is_never_destroyed_to_have_it_run(state: Found) -> None:
    steps = {step for group in plan(Power.ON, state, plugged=True, unplugged=False) for step in group}
    assert not steps & {Step.DESTROY, Step.UNDEFINE, Step.DELETE_DISK, Step.UNPLUG}


def test_a_start_that_is_not_over_is_seen_to_before_its_ports() -> None:
    steps = [step for group in plan(Power.ON, Found.STARTING, plugged=False, unplugged=True) for step in group]
    assert steps == [Step.START_PAUSED, Step.PLUG, Step.RESUME]


def test_a_guest_gets_its_time_before_its_power_is_cut() -> None:
    assert plan(Power.OFF, Found.RUNNING, plugged=True, unplugged=False) == ((Step.POWER_BUTTON,),)
    late = plan(Power.OFF, Found.RUNNING, plugged=True, unplugged=False, deadline_passed=True)
    assert late[0] == (Step.DESTROY,)


@pytest.mark.parametrize(
    ("it", "here", "power"),
    [
        (server("Build"), None, Power.ON),
        (server("Build"), off(StopReason.FAILED), Power.ON),
        (server("Shutoff"), off(StopReason.GUEST), Power.ON),
        (server("Active"), off(StopReason.GUEST), Power.OFF),
        (server("Active"), off(StopReason.FAILED), Power.OFF),
        (server("Active"), off(StopReason.DESTROYED), Power.OFF),
        (server("Active"), off(StopReason.NEVER_STARTED), Power.ON),
        (server("Paused"), off(StopReason.DESTROYED), Power.OFF),
        (server("Active"), None, Power.ON),
        (server("Shutoff", stopped_at=2), off(StopReason.GUEST), Power.OFF),
        (server("Shutoff", stopped_at=2), domain(), Power.OFF),
        (server("Shutoff", stopped_at=1), off(StopReason.GUEST), Power.ON),
        (server("Active", state="Shutoff"), domain(), Power.OFF),
        (server("Shutoff", state="Shutoff"), off(StopReason.GUEST), Power.OFF),
        (powering_off(server("Active")), domain(), Power.OFF),
        (powering_off(server("Active")), off(StopReason.GUEST), Power.ON),
        (server("Active", deleting=True), domain(), Power.GONE),
        (server("Error"), None, Power.ON),
    ],
)
def test_what_should_be(it: Server, here: Domain | None, power: Power) -> None:
    assert wanted(it, here) is power


@pytest.mark.parametrize(
    ("reason", "policy", "power"),
    [
        (reason, policy, Power.ON if starts else Power.OFF)
        for reason, row in {
            StopReason.GUEST: (False, False, True),
            StopReason.DESTROYED: (False, True, True),
            StopReason.FAILED: (False, True, True),
            StopReason.NEVER_STARTED: (True, True, True),
        }.items()
        for policy, starts in zip(RestartPolicy, row, strict=True)
    ],
)
def test_the_restart_policies(reason: StopReason, policy: RestartPolicy, power: Power) -> None:
    assert wanted(server("Active", restartPolicy=policy), off(reason)) is power


def test_a_start_that_was_asked_for_wins_over_the_guests_own_end_but_not_over_the_spec() -> None:
    assert wanted(server("Shutoff", stopped_at=2), off(StopReason.GUEST), start_asked=True) is Power.ON
    assert wanted(server("Shutoff", state="Shutoff"), off(StopReason.GUEST), start_asked=True) is Power.OFF


@pytest.mark.parametrize(
    ("it", "here", "power", "remembered"),
    [
        (server("Active"), off(StopReason.GUEST), Power.OFF, 2),
        (server("Shutoff", stopped_at=2), domain(), Power.OFF, 2),
        (powering_off(server("Active")), domain(), Power.OFF, None),
        (server("Active", state="Shutoff"), off(StopReason.GUEST), Power.OFF, None),
        (server("Shutoff", stopped_at=2), domain(), Power.ON, None),
        # It ended between the decision that it runs and the look at what is.
        (server("Active"), off(StopReason.GUEST), Power.ON, 2),
        (server("Active", restartPolicy="Always"), off(StopReason.GUEST), Power.ON, None),
        (server("Shutoff", stopped_at=2), off(StopReason.GUEST), Power.ON, 2),
    ],
)
def test_the_generation_of_a_guests_own_end(it: Server, here: Domain, power: Power, remembered: int | None) -> None:
    assert stopped_at_generation(it, here, power) == remembered


@pytest.mark.parametrize(
    ("outcome", "old", "phase", "ready", "reason"),
    [
        (Outcome(domain(), Power.ON), "Build", "Active", True, "Active"),
        (Outcome(None, Power.ON), "Build", "Build", False, "Building"),
        (Outcome(domain(), Power.OFF, powering_off=True), "Active", "Active", False, POWERING_OFF),
        (Outcome(off(StopReason.GUEST), Power.OFF), "Active", "Shutoff", True, "GuestPoweredOff"),
        (Outcome(off(StopReason.FAILED), Power.OFF), "Active", "Shutoff", True, "GuestFailed"),
        (Outcome(domain(), Power.ON, rebooting=ServerPhase.REBOOT), "Active", "Reboot", False, "Reboot"),
        (
            Outcome(domain(DomainState.PAUSED, pause=PauseReason.DISK_ERROR), Power.ON),
            "Active",
            "Paused",
            False,
            "DiskError",
        ),
        (
            Outcome(None, Power.ON, fault=TemporaryFault("disk full", reason="NoSpace")),
            "Build",
            "Build",
            False,
            "NoSpace",
        ),
        (Outcome(None, Power.ON, fault=PermanentFault("no", reason="BadImage")), "Build", "Error", False, "BadImage"),
        (
            Outcome(domain(), Power.ON, fault=TemporaryFault("x", reason="NotPlugged")),
            "Active",
            "Active",
            True,
            "Active",
        ),
        (Outcome(None, Power.GONE, released=True), "Active", "Deleting", False, "Deleting"),
    ],
)
def test_what_is_said(outcome: Outcome, old: str, phase: str, ready: bool, reason: str) -> None:
    new = status.server_status(server(old), outcome, NOW)
    assert new.phase == phase
    assert is_true(new.conditions, "Ready") is ready
    condition = find(new.conditions, "Ready")
    assert condition is not None
    assert condition.reason == reason
    assert is_true(new.conditions, "Released") is outcome.released


_OUTCOMES = st.builds(
    Outcome,
    domain=st.one_of(
        st.none(),
        st.just(domain()),
        st.sampled_from(StopReason).map(off),
        st.sampled_from(PauseReason).map(lambda reason: domain(DomainState.PAUSED, pause=reason)),
    ),
    power=st.sampled_from(Power),
    fault=st.one_of(st.none(), st.just(TemporaryFault("t", reason="T")), st.just(PermanentFault("p", reason="P"))),
    powering_off=st.booleans(),
    released=st.booleans(),
    waits_for_restart=st.booleans(),
)


@given(outcome=_OUTCOMES, phase=st.sampled_from([None, *ServerPhase]))
def test_the_same_observation_said_again_is_the_same_status(outcome: Outcome, phase: ServerPhase | None) -> None:
    first = status.server_status(server(phase), outcome, NOW)
    again = server(phase).model_copy(update={"status": first})
    if status.server_status(again, outcome, LATER).phase == first.phase:
        assert status.server_status(again, outcome, LATER) == first


@given(outcome=_OUTCOMES, phase=st.sampled_from([None, *ServerPhase]))
def test_a_status_never_contradicts_itself(outcome: Outcome, phase: ServerPhase | None) -> None:
    new = status.server_status(server(phase), outcome, NOW)
    assert not (is_true(new.conditions, "Ready") and is_true(new.conditions, "Reconciling"))
    assert not (is_true(new.conditions, "Ready") and is_true(new.conditions, "Stalled"))
    assert new.phase is None or new.phase == phase or new.phase.value in new.phase_transitions


HOST = HostSpec(allocation_ratio=AllocationRatio(vcpus=2.0), reserved=Reserved(memory_mib=512))
SIZE = Resources(vcpus=2, memory_mib=2048, disk_gib=10)


@pytest.mark.parametrize(
    ("request_", "used", "word"),
    [
        ((4, 1536, 10), (0, 0, 0), None),
        ((5, 128, 1), (0, 0, 0), "vCPUs"),
        ((1, 128, 1), (4, 0, 0), "vCPUs"),
        ((1, 1537, 1), (0, 0, 0), "memory"),
        ((1, 128, 1), (0, 0, 10), "disk"),
    ],
)
def test_what_fits(request_: tuple[int, int, int], used: tuple[int, int, int], word: str | None) -> None:
    flavor = ServerFlavor(name="f", vcpus=request_[0], memory_mib=request_[1], disk_gib=request_[2])
    in_use = Resources(vcpus=used[0], memory_mib=used[1], disk_gib=used[2])
    reason = capacity.refusal(flavor, in_use, SIZE, HOST)
    assert (reason is None) if word is None else (reason is not None and reason.startswith(word))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2048), st.integers(1, 10)), max_size=20))
def test_what_is_taken_in_one_by_one_never_exceeds_the_capacity(requests: list[tuple[int, int, int]]) -> None:
    taken: list[ServerFlavor] = []
    for vcpus, memory_mib, disk_gib in requests:
        flavor = ServerFlavor(name="f", vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib)
        if capacity.refusal(flavor, capacity.total(taken), SIZE, HOST) is None:
            taken.append(flavor)
    used = capacity.total(taken)
    assert used.vcpus <= 4
    assert used.memory_mib <= 1536
    assert used.disk_gib <= 10


def action(phase: str = "Pending", *, name: str = "a", created: str = NOW, **spec: Any) -> ServerAction:
    return ServerAction.model_validate(
        {
            "metadata": {"name": name, "namespace": "demo", "uid": name, "creationTimestamp": created},
            "spec": {"server": "one", "action": "Reboot"} | spec,
            "status": {"phase": phase, "host": "h1", "serverUID": "u"},
        }
    )


HARD: dict[str, Any] = {"reboot": {"type": "Hard"}}


@pytest.mark.parametrize(
    ("it", "here", "asked", "move"),
    [
        (action(action="Start"), off(StopReason.GUEST), None, Move.START),
        (action(action="Start"), domain(), None, Move.SUCCEED),
        (action(), domain(), None, Move.ASK),
        (action(), off(StopReason.GUEST), None, Move.FAIL),
        (action(**HARD), domain(), None, Move.RESET),
        (action(**HARD), off(StopReason.GUEST), None, Move.START),
        (action("Running"), domain(), None, Move.SUCCEED),
        (action("Running", **HARD), domain(), None, Move.SUCCEED),
        (action("Running"), off(StopReason.GUEST), None, Move.START),
        (action("Running"), domain(resets=1), Asked(0, 10.0), Move.SUCCEED),
        (action("Running"), domain(), Asked(0, 10.0), Move.WAIT),
        (action("Running"), domain(), Asked(0, 5.0), Move.RESET),
        (action("Running"), off(StopReason.GUEST), Asked(0, 10.0), Move.START),
    ],
)
def test_what_an_action_asks_for(it: ServerAction, here: Domain, asked: Asked | None, move: Move) -> None:
    assert decide(it, server(), here, asked, now=5.0).move is move


def test_an_action_against_the_spec_fails_and_says_what_to_do() -> None:
    decision = decide(action(action="Start"), server("Shutoff", state="Shutoff"), None, None, now=0.0)
    assert decision.move is Move.FAIL
    assert "spec.state" in decision.message


def test_the_oldest_open_action_comes_first_and_others_servers_do_not_count() -> None:
    other = action(name="c", created="2020-01-01T00:00:00Z")
    foreign = other.model_copy(update={"status": other.status.model_copy(update={"server_uid": "x"})})
    actions = [action(name="b", created=LATER), action(name="a"), action("Succeeded", name="d"), foreign]
    first = pending(actions, server())
    assert first is not None
    assert first.uid == "a"


def test_restarts_that_follow_each_other_wait_longer_each_time() -> None:
    assert [restart_delay_s(count) for count in range(5)] == [0.0, 10.0, 20.0, 40.0, 80.0]
    assert restart_delay_s(50) == 300.0


def test_a_guest_that_ran_for_long_has_its_restarts_forgiven() -> None:
    memory = Memory()
    memory.note_running(0.0)
    assert memory.note_restart(1.0) == 0.0
    memory.note_running(2.0)
    assert memory.note_restart(3.0) == 10.0
    memory.note_running(20.0)
    assert memory.note_restart(10_000.0) == 0.0


@pytest.mark.parametrize(
    ("here", "what"),
    [
        (None, Found.ABSENT),
        (domain(), Found.RUNNING),
        (domain(DomainState.CRASHED, stop=StopReason.FAILED), Found.OFF),
        (domain(DomainState.PAUSED, pause=PauseReason.STARTING), Found.STARTING),
        (domain(DomainState.PAUSED, pause=PauseReason.REQUESTED), Found.PAUSED),
        (domain(DomainState.PAUSED, pause=PauseReason.OTHER), Found.BUSY),
    ],
)
def test_what_a_domains_state_means(here: Domain | None, what: Found) -> None:
    assert found(here) is what
