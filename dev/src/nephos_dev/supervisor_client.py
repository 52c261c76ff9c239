"""Talking to a supervisord over its XML-RPC socket: the cloud's own one, and the init of each host."""

import http.client
import os
import signal as signals
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from nephos_dev.progress import FailureError
from nephos_dev.waiting import NotYet, passing, wait_for

_STARTS_THAT_ARE_ENOUGH = 4


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """What a supervisor says of one process. `pid` is 0 while it does not run; `started_at` in seconds of the epoch."""

    name: str
    state: str
    pid: int
    started_at: int
    description: str
    log: Path


class Supervisor:
    """One supervisord. Every call raises ConnectionError when it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def answers(self) -> bool:
        """Return whether a supervisord listens at the socket."""
        try:
            self._call("getPID")
        except ConnectionError:
            return False
        return True

    def pid(self) -> int:
        """Return the process ID of the supervisord itself."""
        return int(self._call("getPID"))

    def processes(self) -> tuple[ProcessState, ...]:
        """Return all processes that it knows."""
        return tuple(_state(info) for info in self._call("getAllProcessInfo"))

    def process(self, name: str) -> ProcessState:
        """Return one process. Raises FailureError if there is none of that name."""
        try:
            return _state(self._call("getProcessInfo", name))
        except xmlrpc.client.Fault as fault:
            raise FailureError(f"no process {name!r} is supervised: {fault.faultString}") from fault

    def reload(self) -> None:
        """Read the configuration again: stop what is gone or changed, add what is new. Starts nothing by itself."""
        added, changed, removed = self._call("reloadConfig")[0]
        for name in (*removed, *changed):
            self._call("stopProcessGroup", name, True)
            self._call("removeProcessGroup", name)
        for name in (*changed, *added):
            self._call("addProcessGroup", name)

    def start(self, name: str) -> None:
        """Start a process unless it is started already; does not wait until it runs."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise FailureError(f"{name} cannot be started: {fault.faultString}") from fault

    def stop(self, name: str) -> None:
        """Stop a process and wait until it has ended."""
        try:
            self._call("stopProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise FailureError(f"{name} cannot be stopped: {fault.faultString}") from fault

    def kill(self, name: str, signal: signals.Signals) -> int:
        """Send a signal to a running process. Return its process ID. Raises FailureError if it does not run."""
        pid = self.process(name).pid
        if not pid:
            raise FailureError(f"{name} does not run")
        os.kill(pid, signal)
        return pid

    def shutdown(self) -> None:
        """Ask the supervisord to end, with everything it started; returns before it has."""
        self._call("shutdown")

    def wait_ready(self, name: str, ready: Callable[[], None], *, timeout_s: float) -> None:
        """Wait until `ready` no longer raises NotYet. Gives up early on a process that ends again and again."""
        starts: set[int] = set()

        def probe() -> None:
            with passing(ConnectionError):
                state = self.process(name)
            if state.state in {"BACKOFF", "FATAL"} and not starts:
                self._retry_now(name)
            starts.add(state.started_at)
            if len(starts) > _STARTS_THAT_ARE_ENOUGH:
                raise FailureError(f"{name} ends soon after each start", state.log)
            if not state.pid:
                raise NotYet(f"{name} is {state.state.lower()}: {state.description}")
            ready()

        try:
            wait_for(probe, what=name, timeout_s=timeout_s)
        except FailureError as failure:
            raise FailureError(str(failure), failure.log or self._log_of(name)) from failure

    def _retry_now(self, name: str) -> None:
        """Start a program at once that waits longer after each failure: what made it fail may be mended by now."""
        self.stop(name)
        self.start(name)

    def _log_of(self, name: str) -> Path | None:
        try:
            return self.process(name).log
        except ConnectionError:
            return None

    def _call(self, method: str, *arguments: object) -> Any:  # why: XML-RPC answers are untyped
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"the supervisor at {self._socket} does not answer: {error}") from error
        finally:
            transport.close()


def _state(info: dict[str, Any]) -> ProcessState:
    return ProcessState(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        started_at=info["start"],
        description=info["description"] or info["spawnerr"],
        log=Path(info["stdout_logfile"]),
    )
