"""Network namespaces with a name (ip-netns(8)): made, entered and removed by system calls, nothing forked.

A namespace belongs to a thread: everything here acts on the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 1 << 20
_MNT_DETACH: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)


def own_namespace() -> Path:
    """Return the path of the calling thread's network namespace."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Put the calling thread into the namespace behind the file descriptor, and back again after."""
    before = os.open(own_namespace(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(namespace, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET), "setns")
    finally:
        os.close(before)


def enter(namespace: Path) -> None:
    """Put the calling thread into the namespace for good."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, _CLONE_NEWNET), "setns")
    finally:
        os.close(descriptor)


def is_namespace(path: Path) -> bool:
    """Tell whether a namespace is mounted there; a bare file is what a crash between the two steps leaves."""
    try:
        return path.stat().st_dev == own_namespace().stat().st_dev
    except FileNotFoundError:
        return False


def create(path: Path) -> None:
    """Make a namespace of that name, unless it is there; the calling thread stays where it is."""
    if is_namespace(path):
        return
    _share(path.parent)
    path.touch(mode=0o444)
    before = os.open(own_namespace(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        try:
            _mount(str(own_namespace()), path, _MS_BIND)
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET), "setns")
    finally:
        os.close(before)


def delete(path: Path) -> None:
    """Take the name away; the namespace goes when its last process does."""
    if is_namespace(path):
        _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"umount {path}")
    path.unlink(missing_ok=True)


def _share(directory: Path) -> None:
    """Make mounts in the directory seen in other mount namespaces, as ``ip netns add`` does."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _libc.mount(b"", os.fsencode(directory), b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    _mount(str(directory), directory, _MS_BIND | _MS_REC)
    _mount("", directory, _MS_SHARED | _MS_REC)


def _mount(source: str, target: Path, flags: int) -> None:
    _check(_libc.mount(source.encode(), os.fsencode(target), b"none", flags, None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
