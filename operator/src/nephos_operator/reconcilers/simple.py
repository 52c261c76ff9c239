"""Kinds that need one look and then are Ready: Flavor, ServerGroup, KeyPair."""

from __future__ import annotations

import base64
import hashlib

from nephos_api.metadata import Key, Status
from nephos_api.reconcile.result import Done, Result
from nephos_api.resources.key_pair import KeyPairStatus
from nephos_operator import counted
from nephos_operator.context import Context
from nephos_operator.statuses import settle
from nephos_operator.verdict import Stalls


async def reconcile_flavor(key: Key, context: Context) -> Result:
    """A Flavor is Ready as it is."""
    flavor = context.store.flavors.find(key)
    if flavor is None or flavor.is_deleting:
        return Done()
    return await settle(flavor, Status(), None, context)


async def reconcile_server_group(key: Key, context: Context) -> Result:
    """A ServerGroup is Ready where its Project takes it."""
    group = context.store.server_groups.find(key)
    if group is None or group.is_deleting:
        return Done()
    return await settle(group, Status(), counted.problem(group, context), context)


async def reconcile_key_pair(key: Key, context: Context) -> Result:
    """A KeyPair is Ready with its fingerprint."""
    key_pair = context.store.key_pairs.find(key)
    if key_pair is None or key_pair.is_deleting:
        return Done()
    refused = counted.problem(key_pair, context)
    found = refused or fingerprint(key_pair.spec.public_key)
    if isinstance(found, str):
        return await settle(key_pair, KeyPairStatus(fingerprint=found), None, context)
    return await settle(key_pair, KeyPairStatus(), found, context)


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
