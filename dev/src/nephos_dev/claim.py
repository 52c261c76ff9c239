"""Which cloud holds which slot of this machine, so that two clouds never share a port, a name or an underlay."""

import fcntl
import json
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nephos_dev.layout import SLOTS


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

    Raises ClaimError if a cloud of another work tree holds the name.
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
        slot = choose_slot(name, {claim.name: claim.slot for claim in claims.values()})
        claim = Claim(name=name, slot=slot, cloud_id=str(uuid.uuid4()), state=str(state))
        state.mkdir(parents=True, exist_ok=True)
        (root / "claims" / f"{name}.json").write_text(json.dumps(asdict(claim)))
        return claim


def release(root: Path, name: str) -> None:
    """Give the name and its slot back, and remove the folders that are then empty."""
    with _locked(root):
        (root / "claims" / f"{name}.json").unlink(missing_ok=True)


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
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
