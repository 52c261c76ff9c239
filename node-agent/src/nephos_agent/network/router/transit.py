"""The hidden network of a router: what leaves by its gateway host goes there, from every other host.

It is one way: answers come back by the networks' own tunnels, from the gateway host's router.
"""

from __future__ import annotations

from typing import Final

from nephos_agent.network.addresses import link_local
from nephos_agent.network.desired import HostContext
from nephos_agent.network.facts import Neighbour, TunnelEntry
from nephos_agent.network.model import HostRouter
from nephos_agent.network.router.facts import RouterFact, Transit
from nephos_agent.network.router.names import transit_mac, transit_name

GATEWAY_IPV4: Final = "169.254.0.1"
"""The gateway host's end, as a next hop: nobody has the address, a permanent neighbour says its MAC."""


def transit_mtu(router: HostRouter) -> int | None:
    """Return the MTU of the transit: what fits one of the router's networks fits it; None without networks."""
    mtus = dict(router.mtus)
    return max((mtus[leg.network_uid] for leg in router.legs), default=None)


def transit(router: HostRouter, context: HostContext) -> frozenset[RouterFact]:
    """Return the tunnel to the gateway host; on that host itself, the tunnel's end."""
    gateway, mtu = router.gateway, transit_mtu(router)
    if gateway is None or gateway.transit_vni is None or gateway.gateway_host is None or mtu is None:
        return frozenset()
    device = transit_name(gateway.transit_vni, context.underlay_address)
    mac = transit_mac(router.uid, context.host)
    end = Transit(device, gateway.transit_vni, context.underlay_address, mac, mtu)
    if gateway.gateway_host == context.host or gateway.gateway_host_address is None:
        return frozenset({end})
    there = transit_mac(router.uid, gateway.gateway_host)
    return frozenset(
        {
            end,
            TunnelEntry(device, there, gateway.gateway_host_address),
            Neighbour(device, GATEWAY_IPV4, there),
            Neighbour(device, link_local(there), there),
        }
    )
