"""The drivers of a real host."""

from __future__ import annotations

import asyncio

import structlog

from nephos_agent.agent import Host
from nephos_agent.compute import libvirt_facts
from nephos_agent.compute.domain_xml import Platform
from nephos_agent.compute.libvirt_cut_start import STATE_FOLDER, CutStarts
from nephos_agent.compute.libvirt_driver import LibvirtDriver
from nephos_agent.config import Acceleration, Config, LauncherKind, RealHost
from nephos_agent.launcher.supervisor import SupervisorLauncher
from nephos_agent.launcher.systemd import SystemBus, SystemdLauncher
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.metadata.source import MetadataSource
from nephos_agent.network.linux import abilities as linux_abilities
from nephos_agent.network.linux.driver import LinuxNetwork
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.network.settings import LinuxSettings
from nephos_agent.storage.local import LocalStorage
from nephos_agent.storage.source import ImageServiceSource
from nephos_api.errors import TemporaryFault
from nephos_api.reconcile.queue import Backoff
from nephos_api.resources.host import HypervisorType

log = structlog.get_logger(__name__)
_RETRY = Backoff(first_s=0.2, most_s=5.0)
_HYPERVISORS = {Acceleration.KVM: HypervisorType.KVM, Acceleration.TCG: HypervisorType.TCG}


async def real_host(config: Config, real: RealHost) -> Host:
    """Return libvirt, the kernel's network and local disks; waits for libvirtd where it has to say if it has KVM."""
    hypervisor = _HYPERVISORS.get(real.acceleration) or await _detect(real.libvirt_uri)
    platform = Platform(hypervisor, config.run_dir / "vnc", config.version)
    launcher = _launcher(real)
    metadata: list[MetadataServer] = []

    def make_network(source: MetadataSource) -> NetworkDriver:
        settings = LinuxSettings(
            cloud_id=config.cloud_id,
            host=config.host_name,
            underlay_address=config.host_address,
            run_dir=config.run_dir / "network",
            provider_bridges=config.provider_bridges,
        )
        metadata.append(MetadataServer(source))
        return LinuxNetwork(settings, launcher, metadata[-1])

    async def close() -> None:
        for server in metadata:
            await server.close()

    return Host(
        compute=LibvirtDriver(real.libvirt_uri, config.cloud_id, platform, CutStarts(STATE_FOLDER, launcher)),
        storage=LocalStorage(config.state_dir, config.cloud_id, ImageServiceSource(real.image_service_url, real.tls)),
        make_network=make_network,
        network_abilities=lambda: asyncio.to_thread(linux_abilities.probe, config.host_address),
        close=close,
    )


def _launcher(real: RealHost) -> SystemdLauncher | SupervisorLauncher:
    if real.launcher is LauncherKind.SYSTEMD:
        return SystemdLauncher(SystemBus())
    return SupervisorLauncher(real.launcher_socket, real.launcher_dir)


async def _detect(uri: str) -> HypervisorType:
    failures = 0
    while True:
        try:
            return await asyncio.to_thread(libvirt_facts.choose, uri)
        except TemporaryFault as fault:
            failures += 1
            log.warning("cannot tell whether there is KVM", error=fault.message)
            await asyncio.sleep(_RETRY.delay_s(failures))
