"""Hosts without hypervisor, kernel or disk: many agents in one process, for tests of scale."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import click
import structlog

from nephos_agent.agent import Agent, Host
from nephos_agent.compute.memory import MemoryCompute
from nephos_agent.config import Config
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.storage.memory import MemoryStorage
from nephos_api.kube.client import connect
from nephos_api.kube.protocol import Kubernetes

_FIRST_ADDRESS: Final = IPv4Address("172.31.0.1")
_PHYSICAL_NETWORK: Final = "ext"
"""What the hosts reach of the world."""
_VCPUS: Final = 64
_MEMORY_MIB: Final = 262_144
_DISK_GIB: Final = 4096


def memory_host(config: Config) -> Host:
    """Return the drivers of a host that lives in memory, as large as it is told, or 64 vCPUs and 256 GiB."""
    limits = config.limits
    return Host(
        compute=MemoryCompute(vcpus=limits.vcpus or _VCPUS, memory_mib=limits.memory_mib or _MEMORY_MIB),
        storage=MemoryStorage(capacity_gib=limits.disk_gib or _DISK_GIB),
        make_network=lambda _source: MemoryNetwork(config.host_name),
    )


def simulated_agents(count: int, kubernetes: Kubernetes, cloud_id: str, state_dir: Path) -> tuple[Agent, ...]:
    """Return agents of the hosts ``sim-001`` …, which share the connection to the API."""
    agents = []
    for number in range(1, count + 1):
        name = f"sim-{number:03}"
        config = Config(
            cloud_id=cloud_id,
            host_name=name,
            host_address=str(_FIRST_ADDRESS + number - 1),
            state_dir=state_dir / name,
            run_dir=state_dir / name,
            provider_bridges={_PHYSICAL_NETWORK: "br-ext"},
        )
        agents.append(Agent(config, kubernetes, memory_host(config)))
    return tuple(agents)


async def run_simulated_hosts(count: int, kubernetes: Kubernetes, *, cloud_id: str = "simulation") -> None:
    """Run so many hosts until cancelled."""
    with tempfile.TemporaryDirectory(prefix="nephos-simulation-") as folder:
        async with asyncio.TaskGroup() as tasks:
            for agent in simulated_agents(count, kubernetes, cloud_id, Path(folder)):
                tasks.create_task(agent.run())


@click.command()
@click.option("--hosts", default=10, show_default=True, help="How many hosts.")
def main(hosts: int) -> None:
    """Run simulated hosts against the API server of $KUBECONFIG until interrupted."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(_run(hosts))


async def _run(hosts: int) -> None:
    """Run until SIGINT or SIGTERM, and remove what the hosts wrote."""
    serving = asyncio.ensure_future(_serve(hosts))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving


async def _serve(hosts: int) -> None:
    async with connect(user_agent="nephos-simulation") as kubernetes:
        await run_simulated_hosts(hosts, kubernetes)


if __name__ == "__main__":
    main()
