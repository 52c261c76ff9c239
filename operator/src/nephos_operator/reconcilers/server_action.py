"""ServerAction: refused or handed to the Server's Host, once; gone when its time is over."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Failed, Result, Wait
from nephos_api.resources import Server, ServerAction
from nephos_api.resources.server import ServerPhase, ServerState
from nephos_api.resources.server_action import (
    ActionType,
    RebootType,
    ServerActionPhase,
    ServerActionStatus,
)
from nephos_operator.context import Context
from nephos_operator.statuses import tell, told, write
from nephos_operator.usable import active_project
from nephos_operator.verdict import Problem, Stalls, Waits

ALLOWED_FROM: Final = {
    "Start": (ServerPhase.SHUTOFF,),
    "Reboot (Soft)": (ServerPhase.ACTIVE,),
    "Reboot (Hard)": (
        ServerPhase.ACTIVE,
        ServerPhase.SHUTOFF,
        ServerPhase.PAUSED,
        ServerPhase.ERROR,
    ),
}
"""From which phases a Server can be asked what (Nova's table, with the phases that Servers reach)."""

FINISHED: Final = (ServerActionPhase.SUCCEEDED, ServerActionPhase.FAILED)


async def reconcile(key: Key, context: Context) -> Result:
    """Hand the action to the Server's Host, or say why not; delete it after its time."""
    action = context.store.server_actions.find(key)
    if action is None or action.is_deleting:
        return Done()
    if action.status.phase in FINISHED:
        return await _expire(action, context)
    server = context.store.servers.get(action.spec.server, key.namespace)
    if action.status.host is not None:
        return await _watch(action, server, context)
    project = active_project(key.namespace, context.store)
    if isinstance(project, Waits | Stalls):
        return await _wait(action, project, context)
    if server is None:
        missing = Waits("NoServer", f"waits for the Server {action.spec.server}, which does not exist")
        return await _wait(action, missing, context)
    refusal = refusal_of(action, server)
    if refusal is not None:
        return await _fail(action, refusal, context)
    status = ServerActionStatus(
        observed_generation=action.metadata.generation,
        phase=ServerActionPhase.PENDING,
        host=server.status.host,
        server_uid=server.uid,
        conditions=told(action, Waits("Pending", f"waits for Host {server.status.host} to carry it out"), context),
    )
    await write(action, status, context)
    return Done()


def title(action: ServerAction) -> str:
    """Return what is asked, as the table of phases calls it."""
    if action.spec.action is ActionType.REBOOT:
        how = action.spec.reboot.type if action.spec.reboot else RebootType.SOFT
        return f"Reboot ({how.value})"
    return action.spec.action.value


def refusal_of(action: ServerAction, server: Server) -> str | None:
    """Return the sentence that refuses the action, or None where the Server's phase allows it."""
    name, phase = title(action), server.status.phase
    allowed = ALLOWED_FROM[name]
    if server.is_deleting:
        return f"{name} is refused: Server {server.metadata.name} is being deleted"
    if server.status.host is None or phase not in allowed:
        phases = " or ".join(allowed_phase.value for allowed_phase in allowed)
        return f"{name} is allowed while the Server is {phases}; it is {phase.value if phase else 'new'}"
    if action.spec.action is ActionType.START and server.spec.state is ServerState.SHUTOFF:
        return "Start is refused: the Server's spec.state is Shutoff; set it to Active instead"
    return None


async def _fail(action: ServerAction, why: str, context: Context) -> Result:
    status = ServerActionStatus(
        observed_generation=action.metadata.generation,
        phase=ServerActionPhase.FAILED,
        server_uid=action.status.server_uid,
        message=why,
        finished_at=context.now(),
        conditions=told(action, Stalls("Refused", why), context),
    )
    await write(action, status, context)
    context.events.warning(action, "Refused", why)
    return Failed("Refused", why)


async def _wait(action: ServerAction, problem: Problem, context: Context) -> Result:
    status = ServerActionStatus(
        observed_generation=action.metadata.generation,
        phase=ServerActionPhase.PENDING,
        conditions=told(action, problem, context),
    )
    return await tell(action, problem, status, context)


async def _watch(action: ServerAction, server: Server | None, context: Context) -> Result:
    """The Host's agent has the action; where the Server went away, nobody will end it but we."""
    if server is not None and server.uid == action.status.server_uid:
        return Done()
    return await _fail(action, f"Server {action.spec.server} was deleted before the action was done", context)


async def _expire(action: ServerAction, context: Context) -> Result:
    """Delete a finished action when its time to live is over."""
    ended = action.status.finished_at or action.metadata.creation_timestamp
    if ended is None:
        return Done()
    left_s = action.spec.ttl_seconds_after_finished - (context.clock() - datetime.fromisoformat(ended)).total_seconds()
    if left_s > 0:
        return Wait("its time to live", after_s=left_s + 0.1)
    await context.kube.delete(ServerAction, action.metadata.name, action.metadata.namespace, uid=action.uid)
    return Done()
