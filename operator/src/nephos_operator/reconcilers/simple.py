"""Kinds that need one look and then are Ready: Flavor, ServerGroup, KeyPair."""

from __future__ import annotations

import base64
import hashlib

from nephos_api.metadata import Key, Status
from nephos_api.reconcile.result import Done, Result
from nephos_api.resources import Flavor, ServerGroup
from nephos_api.resources.key_pair import KeyPairStatus
from nephos_operator.context import Context
from nephos_operator.references import active_project
from nephos_operator.statuses import ready, tell, told, write
from nephos_operator.verdict import Problem, Stalls, Waits


async def reconcile_flavor(key: Key, context: Context) -> Result:
    """A Flavor is Ready as it is."""
    flavor = context.store.flavors.find(key)
    if flavor is None or flavor.is_deleting:
        return Done()
    await write(flavor, _plain(flavor, context), context)
    return Done()


async def reconcile_server_group(key: Key, context: Context) -> Result:
    """A ServerGroup is Ready in a namespace that has a Project."""
    group = context.store.server_groups.find(key)
    if group is None or group.is_deleting:
        return Done()
    project = active_project(key.namespace, context.store)
    if isinstance(project, Waits | Stalls):
        generation = group.metadata.generation
        status = Status(observed_generation=generation, conditions=told(group, project, context))
        return await tell(group, project, status, context)
    await write(group, _plain(group, context), context)
    return Done()


async def reconcile_key_pair(key: Key, context: Context) -> Result:
    """A KeyPair is Ready with its fingerprint."""
    key_pair = context.store.key_pairs.find(key)
    if key_pair is None or key_pair.is_deleting:
        return Done()
    project = active_project(key.namespace, context.store)
    found: Problem | str | None = project if isinstance(project, Waits | Stalls) else None
    found = found or fingerprint(key_pair.spec.public_key)
    if isinstance(found, Waits | Stalls):
        status = KeyPairStatus(
            observed_generation=key_pair.metadata.generation, conditions=told(key_pair, found, context)
        )
        return await tell(key_pair, found, status, context)
    status = KeyPairStatus(
        observed_generation=key_pair.metadata.generation,
        fingerprint=found,
        conditions=ready(key_pair, context),
    )
    await write(key_pair, status, context)
    return Done()


def fingerprint(public_key: str) -> str | Stalls:
    """Return the key's SHA-256 fingerprint as OpenSSH shows it, or what is wrong with the key."""
    fields = public_key.split()
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (IndexError, ValueError):
        return Stalls("BadKey", "spec.publicKey is no OpenSSH public key; paste one line of ~/.ssh/id_ed25519.pub")
    name = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode(errors="replace")
    if name != fields[0]:
        return Stalls("BadKey", f"spec.publicKey says {fields[0]} but holds something else; paste the whole line")
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _plain(resource: Flavor | ServerGroup, context: Context) -> Status:
    return Status(observed_generation=resource.metadata.generation, conditions=ready(resource, context))
