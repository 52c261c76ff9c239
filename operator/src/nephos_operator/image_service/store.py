"""The store: a folder of files named by their hash, and of what is still being fetched.

::

    <store>/<sha256>               an image, whole and checked
    <store>/partial/<image UID>    what was fetched so far
    <store>/partial/<UID>.json     of which version of the source
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nephos_api.errors import PermanentFault, TemporaryFault

_NAME: Final = re.compile(r"[0-9a-f]{64}")
_READ_BYTES: Final = 4 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Partial:
    """A file that is being fetched, open for one process alone, with the hash of what it has so far.

    Raises ``TemporaryFault`` while another process has it open: one that lost its leadership and does not know it yet,
    or a new leader.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()  # a write goes on in its thread when the task that began it is cancelled
        self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise TemporaryFault("another replica is still fetching the image", reason="Busy") from error
        self._digest = hashlib.sha256()
        self.size = 0
        self._file.seek(0)
        while block := self._file.read(_READ_BYTES):
            self._digest.update(block)
            self.size += len(block)

    @property
    def sha256(self) -> str:
        """The hash of what is there."""
        return self._digest.hexdigest()

    def append(self, chunk: bytes) -> None:
        """Add what was fetched; it survives the death of this process."""
        rest = memoryview(chunk)
        with self._lock:
            while rest:
                rest = rest[self._file.write(rest) :]
            self._digest.update(chunk)
            self.size += len(chunk)

    def restart(self) -> None:
        """Drop what is there."""
        with self._lock:
            self._file.truncate(0)
            self._digest = hashlib.sha256()
            self.size = 0

    def check_room(self, total_bytes: int) -> None:
        """Raise ``TemporaryFault`` where the disk has no room for the rest."""
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize < total_bytes - self.size:
            raise store_full()

    def sync(self) -> None:
        """Have the content survive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file, once nothing is being written any more."""
        with self._lock:
            self._file.close()


@dataclass(frozen=True)
class Store:
    """The store in ``root``. Every call blocks on the disk."""

    root: Path

    @property
    def partials(self) -> Path:
        """The folder of what is still being fetched."""
        return self.root / "partial"

    def prepare(self) -> None:
        """Make the folders."""
        self.partials.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return where the content with that hash is, if it is. Raises ``PermanentFault`` for what is no hash."""
        if not _NAME.fullmatch(sha256):
            raise PermanentFault(f"{sha256!r} is no SHA-256", reason="InvalidChecksum")
        return self.root / sha256

    def has(self, sha256: str) -> bool:
        """Tell whether the content is there."""
        return self.path(sha256).is_file()

    def hashes(self) -> frozenset[str]:
        """Return the hashes of all that is there."""
        return frozenset(path.name for path in self.root.iterdir() if _NAME.fullmatch(path.name))

    def partial_path(self, uid: str) -> Path:
        """Return where what was fetched so far of an Image is."""
        return self.partials / uid

    def open_partial(self, uid: str) -> Partial:
        """Open what was fetched so far of an Image, or an empty file."""
        return Partial(self.partial_path(uid))

    def publish(self, uid: str, sha256: str) -> None:
        """Give what was fetched its place; the caller has synced and checked it."""
        partial = self.partial_path(uid)
        partial.chmod(0o444)
        partial.replace(self.path(sha256))
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.note_path(uid).unlink(missing_ok=True)

    def note_path(self, uid: str) -> Path:
        """Return where it is noted what version of the source was being fetched."""
        return self.partials / f"{uid}.json"

    def discard(self, uid: str) -> None:
        """Remove what was fetched so far of an Image."""
        self.partial_path(uid).unlink(missing_ok=True)
        self.note_path(uid).unlink(missing_ok=True)

    def partial_uids(self) -> frozenset[str]:
        """Return the UIDs of the Images of which something was fetched."""
        return frozenset(path.name.removesuffix(".json") for path in self.partials.iterdir())

    def remove(self, sha256: str) -> None:
        """Remove the content with that hash."""
        self.path(sha256).unlink(missing_ok=True)


@contextmanager
def full_disk_is_a_fault() -> Iterator[None]:
    """Raise ``TemporaryFault`` where the disk of the store is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise store_full() from error
        raise


def store_full() -> TemporaryFault:
    """Return the fault of a full disk."""
    return TemporaryFault("the image store is full; ask the cloud's operator", reason="StoreFull")
