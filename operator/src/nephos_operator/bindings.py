"""For whom a FloatingIP stands: one fixed address of a Port behind a Router to the FloatingIP's external Network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from nephos_api.metadata import Key
from nephos_api.resources import FloatingIP, Network, Port, Router, Server
from nephos_operator.precedence import winner
from nephos_operator.usable import usable
from nephos_operator.verdict import Problem, Stalls, Waits
from nephos_operator.wording import joined

if TYPE_CHECKING:
    from nephos_operator.store import Store


@dataclass(frozen=True)
class Binding:
    """The fixed address that a FloatingIP stands for, the Port that has it, and the Router that translates."""

    port: Port
    fixed_address: str
    router: Router


def find_binding(floating_ip: FloatingIP, network: Network, store: Store) -> Binding | Problem | None:
    """Return for whom the FloatingIP stands, None where it should stand for nobody, or what is in the way.

    Of several possible ones it keeps the one that it has.
    """
    ports = _ports(floating_ip, store)
    if ports is None or isinstance(ports, Waits | Stalls):
        return ports
    if problem := fixed_address_problem(floating_ip, ports):
        return problem
    found = list(_bindings(floating_ip, ports, network, store))
    if not found:
        return _nowhere(floating_ip, ports, network)
    best = next((binding for binding in found if _is_bound(floating_ip, binding)), found[0])
    holder = _better_holder(floating_ip, best, store)
    if holder is not None:
        return Waits(
            "FixedAddressTaken",
            f"waits for {best.fixed_address} of {best.port.key}: {holder.key} stands for it already; unbind that one,"
            " or name another address in spec.fixedAddress",
        )
    return best


def fixed_address_problem(floating_ip: FloatingIP, ports: Sequence[Port]) -> Stalls | None:
    """Return that the address which the spec names is none of the Ports', or None."""
    asked = floating_ip.spec.fixed_address
    known = {allocation.address for port in ports for allocation in port.spec.allocations}
    if asked is None or not known or asked in known:
        return None
    names = ", ".join(str(port.key) for port in ports)
    return Stalls(
        "NotItsAddress", f"spec.fixedAddress: {asked} is no address of {names}; it has {', '.join(sorted(known))}"
    )


def target_ports(floating_ip: FloatingIP, store: Store) -> tuple[Port, ...]:
    """Return the Ports of what the FloatingIP names, as far as they are there, in the order of the Server's NICs."""
    namespace, spec = floating_ip.metadata.namespace, floating_ip.spec
    if spec.port is not None:
        port = store.ports.get(spec.port, namespace)
        return (port,) if port is not None else ()
    server = store.servers.get(spec.server, namespace) if spec.server is not None else None
    if server is None:
        return ()
    order = {interface.name: place for place, interface in enumerate(server.spec.networks)}
    ports = store.ports.by("server_uid", server.uid)
    return tuple(sorted(ports, key=lambda port: (order.get(port.spec.server_interface or "", len(order)), port.uid)))


def target_text(floating_ip: FloatingIP) -> str | None:
    """Return whom it should stand for, as people say it."""
    if floating_ip.spec.port is not None:
        return f"Port {floating_ip.spec.port}"
    return f"Server {floating_ip.spec.server}" if floating_ip.spec.server is not None else None


def floating_ip_list(server: Server, store: Store) -> str | None:
    """Return the addresses that stand for the Server, in one string."""
    addresses = {
        floating_ip.status.address
        for port in store.ports.by("server_uid", server.uid)
        for floating_ip in store.floating_ips.by("port_uid", port.uid)
        if floating_ip.status.address
    }
    return joined(sorted(addresses, key=lambda address: int(ip_address(address))))


def _ports(floating_ip: FloatingIP, store: Store) -> tuple[Port, ...] | Problem | None:
    namespace, spec = floating_ip.metadata.namespace, floating_ip.spec
    ports = target_ports(floating_ip, store)
    if any(port.uid == floating_ip.status.port_uid for port in ports):
        return ports  # whatever becomes of them, it has them until they are gone
    found: Port | Server | Waits | None = None
    if spec.port is not None:
        key = Key("Port", namespace, spec.port)
        found = usable(store.ports.find(key), key, "spec.port")
    elif spec.server is not None:
        key = Key("Server", namespace, spec.server)
        found = usable(store.servers.find(key), key, "spec.server")
    if found is None or isinstance(found, Waits):
        return found
    if not any(port.spec.allocations for port in ports):
        return Waits("NoPort", f"waits for {found.key} to have an address")
    return ports


def _bindings(floating_ip: FloatingIP, ports: Sequence[Port], network: Network, store: Store) -> Iterator[Binding]:
    """Yield everything that the FloatingIP may stand for, in order."""
    asked = floating_ip.spec.fixed_address
    for port in ports:
        for allocation in port.spec.allocations:
            if ":" in allocation.address or (asked is not None and allocation.address != asked):
                continue
            for router in store.routers.by("leg_subnet_uid", allocation.subnet_uid):
                binding = Binding(port, allocation.address, router)
                if _reaches(router, allocation.subnet_uid, network, is_bound=_is_bound(floating_ip, binding)):
                    yield binding


def _reaches(router: Router, subnet_uid: str, network: Network, *, is_bound: bool) -> bool:
    """Tell whether the Router translates between the Subnet and the Network; a leg on its way out takes nobody new."""
    if router.status.external is None or router.status.external.network_uid != network.uid:
        return False
    stays = router.spec.external_network == network.metadata.name and any(
        leg.subnet in router.spec.subnets for leg in router.status.legs if leg.subnet_uid == subnet_uid
    )
    return is_bound or (stays and not router.is_deleting)


def _is_bound(floating_ip: FloatingIP, binding: Binding) -> bool:
    status = floating_ip.status
    return (status.port_uid, status.fixed_address, status.router_uid) == (
        binding.port.uid,
        binding.fixed_address,
        binding.router.uid,
    )


def _nowhere(floating_ip: FloatingIP, ports: Sequence[Port], network: Network) -> Waits:
    asked = floating_ip.spec.fixed_address
    subnets = {
        allocation.subnet
        for port in ports
        for allocation in port.spec.allocations
        if ":" not in allocation.address and asked in (None, allocation.address)
    }
    if not subnets:
        return Waits("NoIPv4Address", f"waits for {target_text(floating_ip)} to have an IPv4 address")
    return Waits(
        "NoRouter",
        f"waits for a Router that joins Subnet {' or '.join(sorted(subnets))} with {network.key}:"
        " name both in its spec.subnets and spec.externalNetwork",
    )


def _better_holder(floating_ip: FloatingIP, binding: Binding, store: Store) -> FloatingIP | None:
    """Return who stands for the fixed address already: one address has one FloatingIP."""
    holders = [
        other
        for other in store.floating_ips.by("port_uid", binding.port.uid)
        if other.status.fixed_address == binding.fixed_address
    ]
    best = winner(holders) if holders else None
    return best if best is not None and best.uid != floating_ip.uid else None
