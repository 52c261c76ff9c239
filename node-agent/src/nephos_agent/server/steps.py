"""Carries out the steps of the plan with the drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

import structlog

from nephos_agent.compute.protocol import ComputeDriver, Nic, NicSpec
from nephos_agent.consoles import Consoles
from nephos_agent.host_network import port_mac
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.networks import WAITING, Networks
from nephos_agent.server.domain_spec import domain_spec
from nephos_agent.server.plan import Step, Steps
from nephos_agent.storage.protocol import StorageDriver
from nephos_agent.watches import Watches
from nephos_api.errors import NephosError, TemporaryFault
from nephos_api.resources.port import Port
from nephos_api.resources.server import Server

log = structlog.get_logger(__name__)
_NETWORK_TIMEOUT_S: Final = 10.0
_STARTING: Final = frozenset({Step.START_PAUSED, Step.PLUG, Step.RESUME})
ConfigDriveFiles = Callable[[str], Mapping[str, bytes]]
"""From a Server's UID to the files of its config drive, by path."""
Observe = Callable[[Step, float], None]
"""Called with each step that was carried out and its duration in seconds."""


@dataclass(frozen=True)
class Drivers:
    """What the steps work with."""

    compute: ComputeDriver
    network: NetworkDriver
    storage: StorageDriver
    networks: Networks
    watches: Watches
    consoles: Consoles
    config_drive_files: ConfigDriveFiles


@dataclass
class Work:
    """A Server under work, and what the steps have made for each other."""

    server: Server
    ports: tuple[Port, ...]
    kept: tuple[Nic, ...] = ()
    """NICs that the domain keeps although their Ports are not known."""
    disk: Path | None = None
    config_drive: Path | None = None
    nics: tuple[NicSpec, ...] = field(default=())


class StepRunner:
    """Carries out steps; a start that fails is taken back, so that nothing half-started stays."""

    def __init__(self, drivers: Drivers, cloud_id: str, observe: Observe) -> None:
        self._drivers = drivers
        self._cloud_id = cloud_id
        self._observe = observe
        self._run: Mapping[Step, Callable[[Work], Awaitable[None]]] = {
            Step.DISK: self._disk,
            Step.TAPS: self._taps,
            Step.DEFINE: self._define,
            Step.START_PAUSED: lambda work: drivers.compute.start_paused(work.server.uid),
            Step.PLUG: self._plug,
            Step.RESUME: lambda work: drivers.compute.resume(work.server.uid),
            Step.POWER_BUTTON: lambda work: drivers.compute.request_shutdown(work.server.uid),
            Step.DESTROY: lambda work: drivers.compute.destroy(work.server.uid),
            Step.UNPLUG: self._unplug,
            Step.UNDEFINE: lambda work: drivers.compute.undefine(work.server.uid),
            Step.DELETE_DISK: self._delete_disk,
        }

    async def run(self, work: Work, steps: Steps) -> None:
        """Carry out the steps. Raises the first fault."""
        for group in steps:
            outcomes = await asyncio.gather(*(self._timed(step, work) for step in group), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    if _STARTING & set(group) and Step.START_PAUSED in {step for each in steps for step in each}:
                        await self._take_back(work)
                    raise outcome

    async def _timed(self, step: Step, work: Work) -> None:
        started = perf_counter()
        await self._run[step](work)
        self._observe(step, perf_counter() - started)

    async def _take_back(self, work: Work) -> None:
        with suppress(NephosError):  # the next try, or the sweep, finds what is left
            await self._drivers.compute.destroy(work.server.uid)
            await self._unplug(work)

    async def _disk(self, work: Work) -> None:
        server, status = work.server, work.server.status
        if status.image is None or status.flavor is None:
            raise TemporaryFault("waits for the operator to copy its flavor and image", reason="WaitingForPlacement")
        storage, metadata = self._drivers.storage, server.metadata
        work.disk = await storage.ensure_disk(
            server.uid, metadata.namespace or "", metadata.name, status.image, status.flavor.disk_gib
        )
        if server.spec.config_drive:
            await self._networks_synced(work)
            files = self._drivers.config_drive_files(server.uid)
            work.config_drive = await storage.ensure_config_drive(server.uid, files)

    async def _taps(self, work: Work) -> None:
        await self._networks_synced(work)
        nics = await asyncio.gather(*(self._tap(port) for port in work.ports))
        work.nics = (*nics, *(NicSpec(nic.tap, nic.mac, nic.mtu) for nic in work.kept))

    async def _tap(self, port: Port) -> NicSpec:
        network = self._drivers.watches.network(port.spec.network_uid or "")
        if network is None or network.status.mtu is None:
            raise TemporaryFault(f"waits for Network {port.spec.network} to have a VNI and an MTU", reason=WAITING)
        mac, mtu = port_mac(port), network.status.mtu
        return NicSpec(tap=await self._drivers.network.create_tap(port.uid, mac, mtu), mac=mac, mtu=mtu)

    async def _networks_synced(self, work: Work) -> None:
        try:
            async with asyncio.timeout(_NETWORK_TIMEOUT_S):
                for uid in _network_uids(work.ports):
                    await self._drivers.watches.network_synced(uid)
        except TimeoutError as error:
            raise TemporaryFault("waits for the API server to show its networks", reason=WAITING) from error

    async def _define(self, work: Work) -> None:
        if work.disk is None:
            raise TemporaryFault("its disk is not there", reason="WaitingForDisk")
        spec = domain_spec(
            work.server,
            cloud_id=self._cloud_id,
            disk=work.disk,
            config_drive=work.config_drive,
            console_log=self._drivers.consoles.path(work.server.uid),
            nics=work.nics,
        )
        await self._drivers.compute.define(spec)

    async def _plug(self, work: Work) -> None:
        await asyncio.gather(*(self._drivers.networks.ensure(uid) for uid in _network_uids(work.ports)))
        missing = {port.uid for port in work.ports} - await self._drivers.network.plugged()
        if missing:
            raise TemporaryFault("its ports could not be put on their networks", reason="NotPlugged")

    async def _unplug(self, work: Work) -> None:
        await asyncio.gather(*(self._drivers.network.unplug(port.uid) for port in work.ports))

    async def _delete_disk(self, work: Work) -> None:
        await self._drivers.storage.delete(work.server.uid)
        await self._drivers.consoles.delete(work.server.uid)


def _network_uids(ports: tuple[Port, ...]) -> frozenset[str]:
    return frozenset(port.spec.network_uid for port in ports if port.spec.network_uid)
