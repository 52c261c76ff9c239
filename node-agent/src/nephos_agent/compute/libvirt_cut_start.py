"""A start that libvirtd's death cut off, and how the next libvirtd is made to forget it.

libvirtd notes a start in the domain's status file, makes a child, notes the child's number there too, and only then
lets the child become QEMU. If it dies before it has noted the number, there is no QEMU, and the next libvirtd finds a
domain that is starting and no process to ask: it waits for the end of that start for ever, and so does every call that
changes the domain. No call ends the start; without its file, a libvirtd that is restarted knows nothing of it. Guests
outlive that.
Source: qemuProcessLaunch and qemuProcessReconnectHelper in libvirt's qemu_process.c.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import libvirt
import structlog

from nephos_agent.launcher.protocol import HostServices
from nephos_api.errors import TemporaryFault

log = structlog.get_logger(__name__)
STATE_FOLDER: Final = Path("/run/libvirt/qemu")
"""Where libvirtd keeps the status of running domains."""
_DAEMON: Final = "driver.pid"  # libvirtd writes it when it starts, before it reads any status
_REMOVED: Final = ".cut-off"  # libvirtd reads files in .xml alone
_SERVICES: Final = ("libvirtd", "virtqemud")  # a host runs one of the two
_PAUSE_S: Final = 30.0  # as long as libvirtd waits before it says that a domain is busy


class StartNotOver(TemporaryFault):
    """libvirtd waited in vain for the end of the domain's start."""

    def __init__(self, domain_name: str) -> None:
        super().__init__("the domain's start does not come to its end", reason="StartNotOver")
        self.domain_name = domain_name


def is_starting(handle: libvirt.virDomain) -> bool:
    """Tell whether the domain's start is not over."""
    return tuple(handle.state()) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)


def is_stuck(handle: libvirt.virDomain, error: libvirt.libvirtError) -> bool:
    """Tell whether the call failed because the domain's start did not come to its end meanwhile."""
    return error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT and is_starting(handle)


def is_cut_off(status: Path, daemon: Path) -> bool:
    """Tell whether the start in the status file has no process, and was noted by an earlier libvirtd than ``daemon``'s.

    A start of today's libvirtd that takes long (a disk that hangs), noted yet or not, is its own to end.
    """
    try:
        started_ns = daemon.stat().st_mtime_ns
        text, noted_ns = status.read_text(), status.stat().st_mtime_ns
    except FileNotFoundError:
        return False  # nothing is noted; or libvirtd has ended meanwhile, and its successor is asked anew
    pid = ET.fromstring(text).get("pid", "0")  # noqa: S314  # why: libvirt's own file
    return pid == "0" and noted_ns < started_ns


class CutStarts:
    """Has libvirtd forget starts that were cut off; domains that are found at the same time share a restart."""

    def __init__(self, folder: Path, services: HostServices, clock: Callable[[], float] = time.monotonic) -> None:
        """``folder`` is libvirtd's, see ``STATE_FOLDER``."""
        self._folder = folder
        self._services = services
        self._clock = clock
        self._lock = asyncio.Lock()
        self._restarted_at = -math.inf

    async def undo(self, domain_name: str) -> None:
        """Put the start's file aside and restart libvirtd; nothing where libvirtd is still at work on it."""
        if not self._is_restart_due(domain_name):
            return
        async with self._lock:
            if self._clock() - self._restarted_at < _PAUSE_S:
                return  # whoever still finds the domain starting asks again
            log.warning("a libvirtd died in a start; restarting its successor", domain=domain_name)
            self._restarted_at = self._clock()
            for service in _SERVICES:
                await self._services.restart(service)

    def _is_restart_due(self, domain_name: str) -> bool:
        """Take a start that was cut off out of libvirtd's sight; tell whether no libvirtd has started since one was."""
        status, daemon = self._folder / f"{domain_name}.xml", self._folder / _DAEMON
        removed = status.with_suffix(_REMOVED)
        if is_cut_off(status, daemon):
            status.rename(removed)
        try:
            is_due = removed.stat().st_ctime_ns > daemon.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if not is_due:
            removed.unlink()
        return is_due
