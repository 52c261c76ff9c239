"""What a host says of the provider's networks that it reaches."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner

from nephos_agent import startup
from nephos_agent.network.abilities import Abilities
from nephos_api.resources import Host

from .conftest import HOST, World

REQUIRED = {"NEPHOS_CLOUD_ID": "c", "NEPHOS_HOST_NAME": "h1", "NEPHOS_HOST_ADDRESS": "192.0.2.1"}


def told(monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> tuple[dict[str, str] | None, str]:
    """Return the bridges that the agent would start with, and what the command said."""
    configs = []
    monkeypatch.setattr(startup, "_run", lambda config, *_: configs.append(config))
    monkeypatch.setattr(asyncio, "run", lambda _: None)
    monkeypatch.setattr(startup, "_log_json", lambda: None)
    answer = CliRunner().invoke(startup.main, ["--drivers", "memory", *arguments], env=REQUIRED | environment)
    return (dict(configs[0].provider_bridges) if configs else None), answer.output


def test_its_agent_is_told_by_options_or_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"public": "br-ext", "lab-2": "br-lab"}
    assert told(monkeypatch, "--physical-network", "public=br-ext", "--physical-network", "lab-2=br-lab")[0] == both
    assert told(monkeypatch, NEPHOS_PHYSICAL_NETWORKS="public=br-ext lab-2=br-lab")[0] == both
    assert told(monkeypatch)[0] == {}


@pytest.mark.parametrize("value", ["public", "public=", "=br-ext", "Public=br-ext", "public=a-bridge-with-a-long-name"])
def test_what_names_no_bridge_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    bridges, said = told(monkeypatch, "--physical-network", value)
    assert bridges is None
    assert "such as public=br-ext" in said


async def test_the_host_lists_them_and_what_its_kernel_can_do(world: World) -> None:
    await world.end()
    world.provider_bridges = {"public": "br-ext", "lab": "br-lab"}
    world.abilities = Abilities(has_vlan=True, underlay_mtu=9000)
    await world.start()
    found = await world.until(Host, HOST, lambda host: host.status.physical_networks != ())
    assert found.status.physical_networks == ("lab", "public")
    assert found.status.has_vlan
    assert found.status.underlay_mtu == 9000
