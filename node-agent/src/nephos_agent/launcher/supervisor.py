"""Long-lived processes as programs of a supervisord: one configuration file each, and XML-RPC over its socket."""

from __future__ import annotations

import asyncio
import http.client
import shlex
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from supervisor.states import RUNNING_STATES, ProcessStates, getProcessStateDescription
from supervisor.xmlrpc import Faults, SupervisorTransport

from nephos_agent.launcher.protocol import Unit
from nephos_api.errors import TemporaryFault

_SUFFIX: Final = ".conf"
_RETRIES: Final = 1_000_000  # a program that keeps failing is for its log to show, not for the supervisor to give up on
_UP: Final = frozenset(getProcessStateDescription(state) for state in RUNNING_STATES)
_AT_REST: Final = frozenset(map(getProcessStateDescription, (ProcessStates.STOPPED, ProcessStates.FATAL)))
_END_TIMEOUT_S: Final = 15.0  # longer than a supervisord waits until it kills what does not heed SIGTERM
_END_PAUSE_S: Final = 0.01
_RESTART_PAUSE_S: Final = 0.1
_HARMLESS: Final = frozenset({Faults.BAD_NAME, Faults.NOT_RUNNING, Faults.ALREADY_STARTED, Faults.ALREADY_ADDED})


def render(unit: Unit) -> str:
    """Return the unit as a section of supervisord's configuration."""
    command = shlex.join(unit.argv).replace("%", "%%")
    return (
        f"; {unit.description}\n"
        f"[program:{unit.name}]\n"
        f"command={command}\n"
        "autostart=true\n"
        "autorestart=true\n"
        "startsecs=0\n"
        f"startretries={_RETRIES}\n"
        "redirect_stderr=true\n"
    )


class _StillRunning(TemporaryFault):
    """A program that is to be forgotten has not ended, or was started again."""


class SupervisorLauncher:
    """``Launcher`` and ``HostServices`` on the supervisord at ``socket``, which includes ``folder``/*.conf.

    Calls run in a thread.
    """

    def __init__(self, socket: Path, folder: Path) -> None:
        self._socket = socket
        self._folder = folder
        self._lock = asyncio.Lock()

    async def start(self, unit: Unit) -> None:
        """Write the unit's file and have it started; nothing where both are so."""
        await self._in_thread(self._start, unit)

    async def stop(self, name: str) -> None:
        """Stop the program and remove its file."""
        await self._in_thread(self._stop, name)

    async def signal(self, name: str, signal_number: int) -> None:
        """Send a signal to the program, if it runs."""
        await self._in_thread(self._call, "signalProcess", name, str(signal_number))

    async def units(self) -> frozenset[str]:
        """Return the names of the programs that are kept running and have their files."""
        async with self._lock:
            return await asyncio.to_thread(self._units)

    async def restart(self, name: str) -> None:
        """Have the program's process end, by force after a while; supervisord starts what ends.

        Not stop and start: an agent that died in between would leave it stopped.
        """
        await asyncio.to_thread(self._restart, name)

    async def _in_thread(self, function: Callable[..., object], *arguments: object) -> None:
        async with self._lock:
            await asyncio.to_thread(function, *arguments)

    def _start(self, unit: Unit) -> None:
        path, text = self._path(unit.name), render(unit)
        if not path.exists() or path.read_text() != text:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            partial.replace(path)
        # Not what is written counts, but what runs: an earlier call may have got no further than the file.
        ((added, changed, _removed),) = self._call("reloadConfig")
        if unit.name in changed:
            self._end(unit.name)
        if unit.name in (*added, *changed):
            self._call("addProcessGroup", unit.name)
            return
        information = self._call("getProcessInfo", unit.name)
        if information and information["statename"] not in _UP:
            self._call("startProcess", unit.name, False)

    def _stop(self, name: str) -> None:
        self._end(name)
        self._path(name).unlink(missing_ok=True)

    def _end(self, name: str) -> None:
        """Stop the program and have it forgotten.

        One that keeps failing is not stopped while it is down, and may be up again before it is removed. And a
        supervisord looks for ended children when it wakes, at a question or once a second: to wait within its own call
        would take that second, in which guests get no answer. So it is asked until it agrees.
        """
        deadline = time.monotonic() + _END_TIMEOUT_S
        while True:
            self._call("stopProcessGroup", name, False)
            try:
                self._call("removeProcessGroup", name)
            except _StillRunning:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_END_PAUSE_S)
            else:
                return

    def _restart(self, name: str) -> None:
        former = self._pid(name)
        if not former:
            return
        self._call("signalProcess", name, "TERM")
        deadline = time.monotonic() + _END_TIMEOUT_S
        while self._pid(name) == former:
            if time.monotonic() > deadline:
                self._call("signalProcess", name, "KILL")
                return
            time.sleep(_RESTART_PAUSE_S)

    def _pid(self, name: str) -> int:
        information = self._call("getProcessInfo", name)
        return int(information["pid"]) if information else 0

    def _units(self) -> frozenset[str]:
        files = frozenset(path.stem for path in self._folder.glob(f"*{_SUFFIX}"))
        known = self._call("getAllProcessInfo") or ()
        return files & {each["group"] for each in known if each["statename"] not in _AT_REST}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in _HARMLESS:
                return None
            kind = _StillRunning if fault.faultCode == Faults.STILL_RUNNING else TemporaryFault
            raise kind(f"the supervisor refuses {method}: {fault.faultString}", reason="Launcher") from fault
        except (OSError, http.client.HTTPException) as error:
            raise TemporaryFault(f"the supervisor does not answer: {error}", reason="Launcher") from error
        finally:
            transport.close()
