"""Which cloud holds which slot of this machine, so that two clouds never share a port, a name or an underlay."""

import fcntl
import json
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nephos_dev import files
from nephos_dev.layout import SLOTS

MEMORY = "cloud.json"  # the claim as the cloud's own state remembers it


class ClaimError(RuntimeError):
    """The name is in use by a cloud of another work tree, or the machine has no slot left."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One cloud's hold on its name and slot; `cloud_id` marks everything that the cloud makes."""

    name: str
    slot: int
    cloud_id: str
    state: str


def choose_slot(name: str, taken: Mapping[str, int]) -> int:
    """Return the first slot from the name's own on that no other cloud holds. Raises ClaimError if there is none."""
    first = zlib.crc32(name.encode()) % SLOTS
    held = {slot for other, slot in taken.items() if other != name}
    for offset in range(SLOTS):
        slot = (first + offset) % SLOTS
        if slot not in held:
            return slot
    raise ClaimError(f"all {SLOTS} slots for local clouds of this machine are taken")


def find(root: Path, name: str) -> Claim | None:
    """Return the claim that cloud `name` holds."""
    return _read(root / "claims" / f"{name}.json")


def take(root: Path, name: str, state: Path) -> Claim:
    """Return the claim of cloud `name` whose state is `state`, made if there is none.

    A cloud that outlived a reboot of the machine, which clears `root`, gets back what its state remembers.
    Raises ClaimError if a cloud of another work tree holds the name, or another cloud the remembered slot.
    """
    with _locked(root):
        claims = _live(root / "claims")
        held = claims.get(name)
        if held and held.state != str(state):
            raise ClaimError(
                f"a cloud named {name!r} belongs to {held.state}: run `make down` there, or set NEPHOS_CLOUD here"
            )
        if held:
            return held
        taken = {claim.name: claim.slot for claim in claims.values()}
        claim = _recall(state, taken) or Claim(
            name=name, slot=choose_slot(name, taken), cloud_id=str(uuid.uuid4()), state=str(state)
        )
        document = json.dumps(asdict(claim))
        files.write(state / MEMORY, document)
        files.write(root / "claims" / f"{name}.json", document)
        return claim


def release(root: Path, name: str) -> None:
    """Give the name and its slot back; the last one leaves no folder behind."""
    with _locked(root):
        claims = root / "claims"
        (claims / f"{name}.json").unlink(missing_ok=True)
        if claims.is_dir() and not any(claims.iterdir()):
            claims.rmdir()
            (root / "lock").unlink()
            root.rmdir()


def _recall(state: Path, taken: Mapping[str, int]) -> Claim | None:
    claim = _read(state / MEMORY)
    rival = next((other for other, slot in taken.items() if claim and slot == claim.slot), None)
    if rival:
        raise ClaimError(f"cloud {rival!r} now has the ports of the cloud in {state}: take {rival!r} down first")
    return claim


def _live(folder: Path) -> dict[str, Claim]:
    """Return the claims whose state folder still exists; the others were left by a removed work tree."""
    folder.mkdir(parents=True, exist_ok=True)
    read = (_read(path) for path in folder.glob("*.json"))
    return {claim.name: claim for claim in read if claim and Path(claim.state).is_dir()}


def _read(path: Path) -> Claim | None:
    try:
        return Claim(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    path = root / "lock"
    while True:
        root.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _same_file(path, lock.fileno()):
                continue  # the last cloud has just removed it
            yield
            return


def _same_file(path: Path, descriptor: int) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))
