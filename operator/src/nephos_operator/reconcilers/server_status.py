"""What the operator says of a Server: where it is, what it was made from, and why it is nowhere yet."""

from __future__ import annotations

from typing import Final

from nephos_api import conditions
from nephos_api.conditions import Condition, ConditionStatus, ConditionType
from nephos_api.resources import Server
from nephos_api.resources.server import (
    ServerAddress,
    ServerFlavor,
    ServerImage,
    ServerKey,
    ServerPhase,
    ServerStatus,
)
from nephos_operator.bindings import floating_ip_list
from nephos_operator.context import Context
from nephos_operator.references import Resolved
from nephos_operator.statuses import told, write
from nephos_operator.verdict import Problem, Stalls
from nephos_operator.wording import joined

FOREIGN: Final = frozenset({"placementRefused", "phaseTransitions", "stoppedAtGeneration"})
"""Fields of the status that don't tell whether the operator has something to write."""

BUILDING: Final = "Building"
"""The reason of the Ready condition that the operator leaves to the agent."""


def placed(
    server: Server, resolved: Resolved, host: str, addresses: tuple[ServerAddress, ...], context: Context
) -> ServerStatus:
    """Return the status of a Server that its host's agent takes over."""
    building = Condition(
        type=ConditionType.READY,
        status=ConditionStatus.FALSE,
        reason=BUILDING,
        message=f"waits for Host {host} to build it",
        last_transition_time=context.now(),
        observed_generation=server.metadata.generation,
    )
    return ServerStatus(
        observed_generation=server.metadata.generation,
        phase=ServerPhase.BUILD,
        host=host,
        placement_epoch=(server.status.placement_epoch or 0) + 1,
        addresses=addresses,
        address_list=joined(address.address for address in addresses),
        floating_ip_list=floating_ip_list(server, context.store),
        flavor=_flavor(resolved),
        image=_image(resolved),
        key_pairs=tuple(
            ServerKey(name=key_pair.metadata.name, public_key=key_pair.spec.public_key)
            for key_pair in resolved.key_pairs
        ),
        phase_transitions=_transitions(server, ServerPhase.BUILD, context),
        conditions=conditions.merge(server.status.conditions, (building,)),
    )


def readdressed(server: Server, addresses: tuple[ServerAddress, ...], floating: str | None) -> ServerStatus:
    """Return the operator's part of the status of a placed Server, with other addresses.

    Phase and conditions are in it only as long as the agent may not have taken them over.
    """
    agents: dict[str, object] = {"placement_refused": None, "stopped_at_generation": None}
    if server.status.phase is not ServerPhase.BUILD:
        agents |= {"phase": None, "phase_transitions": {}, "conditions": (), "observed_generation": None}
    address_list = joined(address.address for address in addresses)
    own = {"addresses": addresses, "address_list": address_list, "floating_ip_list": floating}
    return server.status.model_copy(update=own | agents)


def unplaced(server: Server, problem: Problem, context: Context) -> ServerStatus:
    """Return the status of a Server that has no Host, and why."""
    phase = ServerPhase.ERROR if isinstance(problem, Stalls) else ServerPhase.BUILD
    return ServerStatus(
        observed_generation=server.metadata.generation,
        phase=phase,
        placement_epoch=server.status.placement_epoch,
        floating_ip_list=floating_ip_list(server, context.store),
        phase_transitions=_transitions(server, phase, context),
        conditions=told(server, problem, context),
    )


async def write_status(server: Server, status: ServerStatus, context: Context, *, guard: bool = False) -> Server:
    """Write the status unless it says so already."""
    return await write(server, status, context, guard=guard, foreign=FOREIGN)


def is_refused(server: Server) -> bool:
    """Tell whether the Host refused the Server as it is placed now."""
    refused = server.status.placement_refused
    return refused is not None and refused.epoch == server.status.placement_epoch


def _transitions(server: Server, phase: ServerPhase, context: Context) -> dict[str, str]:
    own = (ServerPhase.BUILD.value, ServerPhase.ERROR.value)
    known = {name: time for name, time in server.status.phase_transitions.items() if name in own}
    if server.status.phase is phase and phase.value in known:
        return known
    return known | {phase.value: context.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def _flavor(resolved: Resolved) -> ServerFlavor:
    spec = resolved.flavor.spec
    return ServerFlavor(
        name=resolved.flavor.metadata.name,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        disk_gib=spec.disk_gib,
    )


def _image(resolved: Resolved) -> ServerImage:
    image = resolved.image
    return ServerImage(
        name=image.metadata.name,
        namespace=image.metadata.namespace or "",
        uid=image.uid,
        sha256=image.status.sha256 or "",
        format=image.status.format or image.spec.format,
        size_bytes=image.status.size_bytes or 0,
        virtual_size_bytes=image.status.virtual_size_bytes or 0,
        machine_type=image.spec.properties.machine_type,
        firmware=image.spec.properties.firmware,
    )
