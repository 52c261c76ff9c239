"""Long-lived processes as transient units of systemd, over D-Bus.

Source of the calls and properties: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import Any, Final, Protocol

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from nephos_agent.launcher.protocol import Unit
from nephos_api.errors import TemporaryFault

_SYSTEMD: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = f"{_SYSTEMD}.Manager"
_SUFFIX: Final = ".service"
_PATTERN: Final = f"nephos-*{_SUFFIX}"
_RESTART_DELAY_US: Final = 500_000
_JOB_TIMEOUT_S: Final = 30.0
_NOT_THERE: Final = frozenset({f"{_SYSTEMD}.NoSuchUnit", f"{_SYSTEMD}.NoSuchProcess"})


class Bus(Protocol):
    """What is needed of a D-Bus connection."""

    async def call(self, member: str, signature: str, body: list[Any]) -> list[Any]:
        """Call systemd's manager and return the answer's body. Raises BusError."""

    async def run_job(self, member: str, signature: str, body: list[Any]) -> None:
        """Call a method that returns a job, and wait until that job has ended. Raises BusError."""


class BusError(Exception):
    """systemd refused a call; ``name`` is the D-Bus error's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def properties(unit: Unit) -> list[list[Any]]:
    """Return the unit's properties as StartTransientUnit takes them."""
    return [
        ["Description", Variant("s", describe(unit))],
        ["Type", Variant("s", "exec")],
        ["ExecStart", Variant("a(sasb)", [[unit.argv[0], list(unit.argv), False]])],
        ["Restart", Variant("s", "always")],
        ["RestartUSec", Variant("t", _RESTART_DELAY_US)],
        ["CollectMode", Variant("s", "inactive-or-failed")],
    ]


def describe(unit: Unit) -> str:
    """Return the description, with a digest by which a changed command is noticed."""
    return f"{unit.description} [{hashlib.sha256(repr(unit.argv).encode()).hexdigest()[:12]}]"


class SystemdLauncher:
    """``Launcher`` and ``HostServices`` on the host's systemd."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = asyncio.Lock()

    async def start(self, unit: Unit) -> None:
        """Start the unit; stop one with another command first."""
        async with self._lock:
            found = await self._descriptions()
            if found.get(unit.name) == describe(unit):
                return
            if unit.name in found:
                await self._stop(unit.name)
            body = [f"{unit.name}{_SUFFIX}", "replace", properties(unit), []]
            await self._run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)

    async def stop(self, name: str) -> None:
        """Stop the unit; a transient one is forgotten then."""
        async with self._lock:
            await self._stop(name)

    async def signal(self, name: str, signal_number: int) -> None:
        """Send a signal to the unit's main process, if it runs."""
        await self._call("KillUnit", "ssi", [f"{name}{_SUFFIX}", "main", signal_number])

    async def units(self) -> frozenset[str]:
        """Return the names of our units that are loaded and not at their end."""
        return frozenset(await self._descriptions())

    async def restart(self, name: str) -> None:
        """Restart the service if it runs."""
        await self._run_job("TryRestartUnit", "ss", [f"{name}{_SUFFIX}", "replace"])

    async def _descriptions(self) -> dict[str, str]:
        (units,) = await self._call("ListUnitsByPatterns", "asas", [[], [_PATTERN]]) or [[]]
        return {unit[0].removesuffix(_SUFFIX): unit[1] for unit in units if unit[3] not in {"inactive", "failed"}}

    async def _stop(self, name: str) -> None:
        await self._run_job("StopUnit", "ss", [f"{name}{_SUFFIX}", "replace"])

    async def _call(self, member: str, signature: str, body: list[Any]) -> list[Any] | None:
        try:
            return await self._bus.call(member, signature, body)
        except BusError as error:
            _judge(error)
            return None

    async def _run_job(self, member: str, signature: str, body: list[Any]) -> None:
        try:
            await self._bus.run_job(member, signature, body)
        except BusError as error:
            _judge(error)


def _judge(error: BusError) -> None:
    """Pass over what is not there; the rest may go away by itself."""
    if error.name not in _NOT_THERE:
        raise TemporaryFault(f"systemd refuses: {error}", reason="Launcher") from error


class SystemBus:
    """``Bus`` on the system's D-Bus; connects at the first call, and again when the connection was lost."""

    def __init__(self) -> None:
        self._bus: MessageBus | None = None
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._ended: dict[str, str] = {}
        """Jobs that were over before systemd had said which one is ours: all of the machine's, so only while we ask."""
        self._asking = 0

    async def call(self, member: str, signature: str, body: list[Any]) -> list[Any]:
        """Call systemd's manager."""
        bus = await self._connected()
        message = Message(
            destination=_SYSTEMD, path=_PATH, interface=_MANAGER, member=member, signature=signature, body=body
        )
        try:
            reply = await bus.call(message)
        except (OSError, EOFError) as error:
            self._bus = None
            raise BusError("Disconnected", str(error)) from error
        if reply is None or reply.message_type is MessageType.ERROR:
            raise BusError(reply.error_name or "" if reply else "", str(reply.body[0]) if reply and reply.body else "")
        answer: list[Any] = reply.body
        return answer

    async def run_job(self, member: str, signature: str, body: list[Any]) -> None:
        """Call a method that returns a job and wait for systemd's signal that it is over."""
        self._asking += 1
        try:
            (job,) = await self.call(member, signature, body)
            future = self._jobs.setdefault(job, asyncio.get_running_loop().create_future())
            if (result := self._ended.pop(job, None)) and not future.done():
                future.set_result(result)
        finally:
            self._asking -= 1
            if not self._asking:
                self._ended.clear()
        try:
            async with asyncio.timeout(_JOB_TIMEOUT_S):
                outcome = await future
        except TimeoutError as error:
            raise BusError("Timeout", f"{member} did not end in {_JOB_TIMEOUT_S:.0f} s") from error
        finally:
            self._jobs.pop(job, None)
        if outcome not in {"done", "skipped"}:
            raise BusError("JobFailed", f"{member} ended as {outcome}")

    async def _connected(self) -> MessageBus:
        if self._bus is None or not self._bus.connected:
            try:
                bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            except (OSError, EOFError) as error:
                raise BusError("Disconnected", str(error)) from error
            bus.add_message_handler(self._on_message)
            self._bus = bus
            await self._follow_jobs(bus)
        return self._bus

    async def _follow_jobs(self, bus: MessageBus) -> None:
        rule = f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"
        await bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=[rule],
            )
        )
        with suppress(BusError):  # already subscribed
            await self.call("Subscribe", "", [])

    def _on_message(self, message: Message) -> None:
        if message.member != "JobRemoved" or message.message_type is not MessageType.SIGNAL:
            return
        _, job, _, result = message.body
        if future := self._jobs.get(job):
            if not future.done():
                future.set_result(result)
        elif self._asking:
            self._ended[job] = result
