"""Long-lived processes as programs of a supervisord: one configuration file each, and XML-RPC over its socket."""

from __future__ import annotations

import asyncio
import http.client
import shlex
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from supervisor.states import RUNNING_STATES, getProcessStateDescription
from supervisor.xmlrpc import Faults, SupervisorTransport

from nephos_agent.launcher.protocol import Unit
from nephos_api.errors import TemporaryFault

_SUFFIX: Final = ".conf"
_RETRIES: Final = 1_000_000  # a program that keeps failing is for its log to show, not for the supervisor to give up on
_UP: Final = frozenset(getProcessStateDescription(state) for state in RUNNING_STATES)
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


class SupervisorLauncher:
    """``Launcher`` on the supervisord at ``socket``, which includes ``folder``/*.conf; calls run in a thread."""

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
        """Return the names of the files."""
        return await asyncio.to_thread(lambda: frozenset(path.stem for path in self._folder.glob(f"*{_SUFFIX}")))

    async def _in_thread(self, function: Callable[..., object], *arguments: object) -> None:
        async with self._lock:
            await asyncio.to_thread(function, *arguments)

    def _start(self, unit: Unit) -> None:
        path, text = self._path(unit.name), render(unit)
        is_new = not path.exists() or path.read_text() != text
        if is_new:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            partial.replace(path)
        information = self._call("getProcessInfo", unit.name)
        if is_new or information is None:
            self._replace(unit.name, is_there=information is not None)
        elif information["statename"] not in _UP:
            self._call("startProcess", unit.name, False)

    def _replace(self, name: str, *, is_there: bool) -> None:
        self._call("reloadConfig")
        if is_there:
            self._call("stopProcessGroup", name, True)
            self._call("removeProcessGroup", name)
        self._call("addProcessGroup", name)

    def _stop(self, name: str) -> None:
        self._call("stopProcessGroup", name, True)
        self._call("removeProcessGroup", name)
        self._path(name).unlink(missing_ok=True)

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
            raise TemporaryFault(f"the supervisor refuses {method}: {fault.faultString}", reason="Launcher") from fault
        except (OSError, http.client.HTTPException) as error:
            raise TemporaryFault(f"the supervisor does not answer: {error}", reason="Launcher") from error
        finally:
            transport.close()
