"""The command ``nephos-agent``."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import structlog

from nephos_agent import reporting
from nephos_agent.agent import Agent
from nephos_agent.config import Acceleration, CapacityLimits, Config, DriverKind, LauncherKind, RealHost
from nephos_agent.metrics import Exposition, serve
from nephos_agent.real_host import real_host
from nephos_agent.simulation import memory_host
from nephos_agent.storage.source import TlsFiles
from nephos_api.kube.client import connect

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., object])
_PHYSICAL_NETWORK: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,29}[a-z0-9])?")
"""As the API takes it (``PhysicalNetworkName``)."""
_LONGEST_DEVICE_NAME: Final = 15
"""IFNAMSIZ − 1 (if.h)."""
_PATH = click.Path(path_type=Path)


def _option(name: str, *, env: str = "", **attributes: Any) -> Callable[[F], F]:
    variable = env or "NEPHOS_" + name.upper().replace("-", "_")
    return click.option(f"--{name}", envvar=variable, show_envvar=True, **attributes)


def _provider_bridges(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return the bridge of each physical network."""
    bridges = {}
    for value in values:
        name, _, bridge = value.partition("=")
        if not _PHYSICAL_NETWORK.fullmatch(name) or not 0 < len(bridge) <= _LONGEST_DEVICE_NAME:
            raise click.BadParameter(f"{value!r} is not the name of a network and of a bridge, such as public=br-ext")
        bridges[name] = bridge
    return bridges


@click.command()
@_option("cloud-id", required=True, help="UUID of the cloud: the mark of everything that is ours.")
@_option("host-name", required=True, help="Name of this host's Host (and Node).")
@_option("host-address", required=True, help="Address on the underlay.")
@_option("libvirt-uri", default="qemu:///system", show_default=True)
@_option("state-dir", type=_PATH, default=Path("/var/lib/nephos"), show_default=True)
@_option("run-dir", type=_PATH, default=Path("/run/nephos"), show_default=True)
@_option("image-service-url", default="", help="Where images are fetched from.")
@_option("tls-ca", type=_PATH, default=None)
@_option("tls-cert", type=_PATH, default=None)
@_option("tls-key", type=_PATH, default=None)
@_option(
    "launcher", type=click.Choice(LauncherKind, case_sensitive=False), default=LauncherKind.SYSTEMD, show_default=True
)
@_option("launcher-socket", type=_PATH, default=Path("/run/nephos/launcher.sock"), show_default=True)
@_option("launcher-dir", type=_PATH, default=Path("/run/nephos/launcher.d"), show_default=True)
@_option("metrics-host", default="0.0.0.0", show_default=True)  # noqa: S104  # why: Prometheus scrapes from elsewhere
@_option("metrics-port", type=int, default=9464, show_default=True)
@_option(
    "acceleration",
    env="NEPHOS_AGENT_ACCELERATION",
    type=click.Choice(Acceleration, case_sensitive=False),
    default=Acceleration.AUTO,
    show_default=True,
)
@_option("capacity-vcpus", env="NEPHOS_AGENT_CAPACITY_VCPUS", type=int, default=None, help="Offer no more than this.")
@_option("capacity-memory-mib", env="NEPHOS_AGENT_CAPACITY_MEMORY_MIB", type=int, default=None)
@_option("capacity-disk-gib", env="NEPHOS_AGENT_CAPACITY_DISK_GIB", type=int, default=None)
@_option("shutdown-timeout-s", type=float, default=60.0, show_default=True, help="Before a guest's power is cut.")
@_option("reboot-timeout-s", type=float, default=120.0, show_default=True, help="Before a guest's power is reset.")
@_option(
    "physical-network",
    env="NEPHOS_PHYSICAL_NETWORKS",
    multiple=True,
    callback=_provider_bridges,
    metavar="NAME=BRIDGE",
    help="A network of the provider's, and this host's bridge to it; several are separated by spaces in the variable.",
)
@_option("drivers", type=click.Choice(DriverKind, case_sensitive=False), default=DriverKind.REAL, show_default=True)
def main(**options: Any) -> None:
    """Run the agent of one host until it is told to end. What it started goes on without it."""
    _log_json()
    config = Config(
        cloud_id=options["cloud_id"],
        host_name=options["host_name"],
        host_address=options["host_address"],
        state_dir=options["state_dir"],
        run_dir=options["run_dir"],
        shutdown_timeout_s=options["shutdown_timeout_s"],
        reboot_timeout_s=options["reboot_timeout_s"],
        provider_bridges=options["physical_network"],
        limits=CapacityLimits(options["capacity_vcpus"], options["capacity_memory_mib"], options["capacity_disk_gib"]),
    )
    is_real = options["drivers"] is DriverKind.REAL
    asyncio.run(_run(config, _real(options) if is_real else None, options["metrics_host"], options["metrics_port"]))


def _real(options: dict[str, Any]) -> RealHost:
    tls = (options["tls_ca"], options["tls_cert"], options["tls_key"])
    if None in tls or not options["image_service_url"]:
        raise click.UsageError("a real host needs --image-service-url, --tls-ca, --tls-cert and --tls-key")
    return RealHost(
        libvirt_uri=options["libvirt_uri"],
        acceleration=Acceleration(options["acceleration"]),
        image_service_url=options["image_service_url"],
        tls=TlsFiles(*tls),
        launcher=LauncherKind(options["launcher"]),
        launcher_socket=options["launcher_socket"],
        launcher_dir=options["launcher_dir"],
    )


async def _run(config: Config, real: RealHost | None, metrics_host: str, metrics_port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connect(user_agent=f"nephos-agent/{config.version}") as kubernetes:
        host = await real_host(config, real) if real else memory_host(config)
        agent = Agent(config, kubernetes, host)
        exposition = Exposition(agent.metrics, agent.compute, agent.network, agent.watches.port)
        runners = [await serve(exposition, metrics_host, metrics_port)]
        if real:
            runners.append(await reporting.serve(agent.network, config.host_name, config.run_dir))
        running, stopping = asyncio.ensure_future(agent.run()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            running.cancel()
            stopping.cancel()
            outcomes = await asyncio.gather(running, stopping, return_exceptions=True)
            for runner in runners:
                await runner.cleanup()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


def _log_json() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    main()
