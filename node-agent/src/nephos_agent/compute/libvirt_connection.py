"""One connection to libvirtd that outlives it: calls in threads with deadlines, events, reconnection for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import libvirt
import structlog

from nephos_agent.compute.libvirt_errors import UNAVAILABLE, is_connection_lost, to_fault
from nephos_api.errors import NephosError, TemporaryFault
from nephos_api.reconcile.queue import Backoff

T = TypeVar("T")
log = structlog.get_logger(__name__)
_CALLS_AT_A_TIME: Final = 8
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_COUNT: Final = 3
_CONNECT_TIMEOUT_S: Final = 20.0
_RECONNECT: Final = Backoff(first_s=0.1, most_s=5.0)

_event_loop_lock = threading.Lock()
_event_loop: threading.Thread | None = None


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _start_event_loop() -> None:
    """Start libvirt's event loop, once a process, in its own thread: a busy asyncio loop can't starve keepalives."""
    global _event_loop
    with _event_loop_lock:
        if _event_loop is None:
            libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; no print
            libvirt.virEventRegisterDefaultImpl()
            _event_loop = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
            _event_loop.start()


class LibvirtConnection:
    """Runs calls on the connection; ``on_connected`` and ``on_domain`` are called in the asyncio loop."""

    def __init__(self, uri: str, on_connected: Callable[[], None], on_domain: Callable[[str, bool], None]) -> None:
        self._uri = uri
        self._on_connected = on_connected
        self._on_domain = on_domain
        self._executor = ThreadPoolExecutor(_CALLS_AT_A_TIME, thread_name_prefix="libvirt")
        self._connection: libvirt.virConnect | None = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Try to connect once, and go on in the background, whether or not that succeeded."""
        _start_event_loop()
        first_try = self._loop.create_future()
        self._task = asyncio.create_task(self._stay_connected(first_try), name="libvirt-connection")
        await first_try

    async def close(self) -> None:
        """Disconnect and stop reconnecting."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if connection := self._connection:
            self._connection = None
            await asyncio.wait([self._loop.run_in_executor(self._executor, _close, connection)], timeout=2.0)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def call(self, function: Callable[[libvirt.virConnect], T], *, timeout_s: float) -> T:
        """Run the function with the connection in a thread; errors become faults.

        A call that takes longer than ``timeout_s`` is left to its thread: keepalive ends it where libvirtd hangs.
        """
        connection = self._connection
        if connection is None:
            raise TemporaryFault("libvirtd does not answer", reason=UNAVAILABLE)
        future = self._loop.run_in_executor(self._executor, self._guarded, function, connection)
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await asyncio.shield(future)
        except TimeoutError as error:
            future.add_done_callback(_forget)
            raise TemporaryFault(f"libvirtd did not answer within {timeout_s:.0f} s", reason=UNAVAILABLE) from error
        if isinstance(outcome, NephosError):
            raise outcome
        return outcome

    def _guarded(self, function: Callable[[libvirt.virConnect], T], connection: libvirt.virConnect) -> T | NephosError:
        try:
            return function(connection)
        except libvirt.libvirtError as error:
            if is_connection_lost(error):
                self._loop.call_soon_threadsafe(self._lose, connection)
            return to_fault(error)

    def _lose(self, connection: libvirt.virConnect) -> None:
        if self._connection is connection:
            self._connection = None
            self._lost.set()

    async def _stay_connected(self, first_try: asyncio.Future[None]) -> None:
        failures = 0
        while True:
            try:
                self._connection = await self._connect()
            except (libvirt.libvirtError, TimeoutError) as error:
                failures += 1
                log.warning("libvirtd does not answer", uri=self._uri, error=str(error), failures=failures)
            else:
                failures = 0
                self._lost.clear()
                log.info("connected to libvirtd", uri=self._uri)
                self._on_connected()
            if not first_try.done():
                first_try.set_result(None)
            if self._connection:
                await self._lost.wait()
                log.warning("connection to libvirtd lost", uri=self._uri)
            else:
                await asyncio.sleep(_RECONNECT.delay_s(failures))

    async def _connect(self) -> libvirt.virConnect:
        """Open a connection; one that is there too late for us is closed, or its events would come twice."""
        opening = self._executor.submit(self._open)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                connection = await asyncio.wrap_future(opening)
        except BaseException:
            opening.add_done_callback(_close_opened)
            raise
        if not connection.isAlive():  # its end was told before anybody knew it
            raise TimeoutError("libvirtd closed the connection at once")
        return connection

    def _open(self) -> libvirt.virConnect:
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(_KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT)
        connection.registerCloseCallback(self._closed, None)
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._lifecycle),
        ):
            connection.domainEventRegisterAny(None, event, callback, None)
        return connection

    # The three below are called in libvirt's event thread.
    def _closed(self, connection: libvirt.virConnect, _reason: int, _opaque: object) -> None:
        self._post(self._lose, connection)

    def _lifecycle(self, _connection: object, domain: libvirt.virDomain, *_details: object) -> None:
        self._post(self._on_domain, domain.UUIDString(), False)

    def _reboot(self, _connection: object, domain: libvirt.virDomain, *_details: object) -> None:
        self._post(self._on_domain, domain.UUIDString(), True)

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


def _close(connection: libvirt.virConnect) -> None:
    for callback in tuple(getattr(connection, "domainEventCallbackID", ())):  # each of them keeps the connection
        with suppress(libvirt.libvirtError):
            connection.domainEventDeregisterAny(callback)
    try:
        connection.unregisterCloseCallback()
        connection.close()
    except libvirt.libvirtError as error:
        log.info("closing the connection to libvirtd failed", error=str(error))


def _close_opened(opening: Future[libvirt.virConnect]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close(opening.result())


def _forget(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()):
        log.warning("a call that took too long failed at last", error=str(error))
