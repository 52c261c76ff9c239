"""What the kernel thread does: keeps the picture, plans against it, carries plans out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from nephos_agent.network.desired import HostContext, facts, narrowed, own_facts, shared_facts, touched_ports
from nephos_agent.network.facts import DEVICES, Dnsmasq, Fact, GuardElement, HostsFile, Service, Tap
from nephos_agent.network.filters.cutting import FlowJudge, Holder, given_up, holders, observed_holders
from nephos_agent.network.linux import hosts_files, namespaces, sysctls
from nephos_agent.network.linux import services as linux_services
from nephos_agent.network.linux import traffic as linux_traffic
from nephos_agent.network.linux.events import Events
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.libnftables import NftablesError
from nephos_agent.network.linux.observe import observe, observe_device
from nephos_agent.network.linux.router_worker import RouterWorker
from nephos_agent.network.linux.said import LinkEvent, Said
from nephos_agent.network.linux.service_watch import ServiceWatch
from nephos_agent.network.model import HostNetwork
from nephos_agent.network.names import funnel_name, network_names, tap_name
from nephos_agent.network.observed import Observed
from nephos_agent.network.picture import Picture
from nephos_agent.network.plan import Changes, Plan, keeping, plan
from nephos_agent.network.rate_facts import Funnel, PacketLimit
from nephos_agent.network.services import ServiceSockets
from nephos_agent.network.settings import LinuxSettings
from nephos_agent.network.traffic import PortTraffic

_log = structlog.get_logger(__name__)
REFUSALS: Final = (OSError, NetlinkError, NftablesError)
"""What the kernel says no by."""
_TENANTS: Final = "tenants"
"""How the tenant namespace is called among the places that are listened to."""
_PORTS_OWN: Final = (GuardElement, PacketLimit, Funnel)
"""Facts of a port that its tap leaves behind."""


@dataclass(frozen=True)
class Outcome:
    """What is left to do outside the kernel once a plan is carried out."""

    dnsmasq: Dnsmasq | None
    """The process to start, or to start anew."""
    configuration: str
    """The path of its configuration."""
    must_reread: bool
    """Whether a running dnsmasq has to look at its files: it sees new ones by itself, but not what went."""


class Worker:
    """Owned by one thread; every call blocks."""

    def __init__(self, settings: LinuxSettings, units: frozenset[str]) -> None:
        """Make or find the tenant namespace and read what holds. ``units`` are the processes of the launcher."""
        self._settings = settings
        self._context = HostContext(
            settings.host, settings.underlay_address, settings.namespace_prefix, str(settings.run_dir)
        )
        self._kernel = Kernel(settings)
        self.events = Events()
        self.routers = RouterWorker(self._kernel, self._context, self.events)
        self._services = ServiceWatch(settings, self.events)
        self._picture = Picture()
        self._indices: dict[str, int] = {}
        self._open_taps: frozenset[str] = frozenset()
        self._waiting_taps: set[str] = set()
        self._prepared: set[str] = set()
        self._learnt = 0
        """How often everything was learnt; a plan that is older than that does not say what holds."""
        self._planned: dict[str, HostNetwork] = {}
        self._planned_at: dict[str, int] = {}
        self._applied: dict[str, HostNetwork] = {}
        self._unjudged: dict[str, frozenset[str]] = {}
        """Networks whose flows are to be judged anew, each with the addresses that ports here have no more."""
        self._holders: dict[str, frozenset[Holder]] = {}
        """Who has which address here as last described, by bridges."""
        self._unplugged: frozenset[str] = frozenset()
        self._idle_before: frozenset[str] = frozenset()
        self._commits_seen = 0
        self.plugged: frozenset[str] = frozenset()
        """UIDs of the ports whose taps are filtered, bridged and open."""
        self.networks: frozenset[str] = frozenset()
        """UIDs of the networks that the host carries."""
        self._is_stale = True
        try:
            self.refresh(units)
            self._holders = observed_holders(self._picture.all())
        except BaseException:
            self.events.close()
            self._kernel.close()
            raise

    def _publish(self) -> None:
        """Put out what other threads may read at any time."""
        taps = self._picture.taps()
        self.plugged = frozenset(fact.port_uid for fact in taps if fact.device in self._open_taps)
        self.networks = self._picture.networks()

    def close(self) -> None:
        """Close sockets; everything that was made stays."""
        self.events.close()
        self._kernel.close()

    @property
    def is_stale(self) -> bool:
        """Whether the picture cannot be trusted: somebody else changed something, or a change failed half-way."""
        return self._is_stale or self.routers.is_stale

    def refresh_if_stale(self, units: frozenset[str]) -> frozenset[str]:
        """Learn everything anew unless somebody else had that done meanwhile; return the same as ``refresh``."""
        return self.refresh(units) if self.is_stale else frozenset()

    def refresh(self, units: frozenset[str]) -> frozenset[str]:
        """Learn everything anew; return the UIDs of networks and routers found other than they were thought to be.

        Sysctls that somebody changed are set at once.
        """
        self._listen()
        self._kernel.prepare()
        seen = observe(self._kernel, units)
        for service in (fact for fact in seen.facts if isinstance(fact, Service) and fact.namespace):
            self._services.attend(service)
        self._unplugged = frozenset()
        before, now = self._picture.all(), seen.facts
        self._picture = picture = Picture(now)
        self._indices = dict(seen.indices)
        self._open_taps = seen.open_taps
        outside = self._kernel.devices.waiting_taps()
        for name in outside:
            sysctls.make_so(sysctls.on(name, sysctls.HOST_DEVICE))
        self._waiting_taps = set(seen.loose_taps | outside)
        self._is_stale = False
        self._learnt += 1
        self._applied.clear()
        self._publish()
        routers = self.routers.refresh(now, units)
        devices = {fact.device for fact in before ^ now}
        return routers | frozenset(
            uid for device in devices if (uid := picture.network_of(device) or self._network_of(device))
        )

    def plan(self, network: HostNetwork) -> Plan:
        """Return the changes that make this host carry the network as described.

        Where the last description was carried out and nobody else changed anything since, only ports that differ
        between the two are looked at.
        """
        waiting = frozenset(tap_name(port.uid) for port in network.ports) & self._waiting_taps
        plugged = frozenset(fact.device for fact in self._picture.taps())
        opened = self._kernel.devices.open_taps(waiting) | plugged if waiting else plugged
        before = self._applied.pop(network.uid, None)
        devices = self._devices(network.uid)
        self._planned[network.uid] = network
        self._planned_at[network.uid] = self._learnt
        gone = self._given_up(network)
        if before is None or before.keep_unknown or network.keep_unknown:
            desired = facts(network, self._context, opened)
            observed = self._picture.on(devices | {fact.device for fact in desired})
            if not network.keep_unknown:
                self._leave_to_judge(network.uid, gone)
            return plan(keeping(desired, observed) if network.keep_unknown else desired, observed)
        touched = touched_ports(before, network, plugged, opened) | (self._unplugged & _port_uids(before, network))
        self._unplugged -= touched
        old = own_facts(narrowed(before, touched), self._context, plugged) | shared_facts(
            before, self._context, plugged
        )
        new = own_facts(narrowed(network, touched), self._context, opened) | shared_facts(
            network, self._context, opened
        )
        changes = plan(new, self._picture.holding(old))
        if gone or changes.may_forbid:
            self._leave_to_judge(network.uid, gone)
        return changes

    def _given_up(self, network: HostNetwork) -> frozenset[str]:
        """Take note of who has which address; return those that somebody had and has no more."""
        bridge = network_names(network.uid, self._settings.namespace_prefix).bridge
        before, now = self._holders.get(bridge, frozenset()), holders(network, self._context.host)
        if network.keep_unknown:
            now |= before
        self._holders[bridge] = now
        return given_up(before, now)

    def _leave_to_judge(self, network_uid: str, gone: frozenset[str]) -> None:
        self._unjudged[network_uid] = self._unjudged.get(network_uid, frozenset()) | gone

    def carried_out(self, network_uid: str, dnsmasq: Dnsmasq | None) -> None:
        """Take note that the plan of the last description holds, and of the process that was started."""
        if dnsmasq:
            hosts_files.remove_former_configurations(self._settings.run_dir, dnsmasq)
            self._picture.add([dnsmasq])
        if network_uid in self._unjudged:
            self._judge_flows(self._planned[network_uid], self._unjudged[network_uid])
            del self._unjudged[network_uid]
        if not self._is_stale and self._planned_at[network_uid] == self._learnt:
            self._applied[network_uid] = self._planned[network_uid]

    def _judge_flows(self, network: HostNetwork, gone: frozenset[str]) -> None:
        bridge = network_names(network.uid, self._settings.namespace_prefix).bridge
        self._kernel.tables.judge_flows(bridge, FlowJudge(network, self._context.host, gone).fate)

    def plan_removal(self, network_uid: str) -> Plan:
        """Return the changes that leave nothing of the network on this host."""
        return plan(frozenset(), self._picture.on(self._devices(network_uid)))

    def carry_out(self, changes: Plan) -> Outcome:
        """Make the changes, those of dnsmasq's process apart. A failure half-way makes the picture stale."""
        try:
            must_reread = [self._take_away(change) for change in changes.removals]
            must_reread += [self._make_so(change) for change in changes.additions]
        except BaseException:
            self._is_stale = True
            raise
        started = (fact for change in changes.additions for fact in change.facts if isinstance(fact, Dnsmasq))
        dnsmasq = next(started, None)
        path = str(hosts_files.write_configuration(self._settings.run_dir, dnsmasq)) if dnsmasq else ""
        self._publish()
        return Outcome(dnsmasq, path, any(must_reread))

    def _take_away(self, change: Changes) -> bool:
        """Take facts away; tell whether dnsmasq has to look at its files."""
        if change.kind is not Dnsmasq:
            self._kernel.remove(change)
        self._forget(change)
        return change.kind is HostsFile

    def _make_so(self, change: Changes) -> bool:
        """Make facts so; tell whether dnsmasq has to look at its files."""
        if change.kind is Dnsmasq:
            # Whatever ran before, it may have ended by the time that this one cannot be started.
            self._picture.remove(change.facts)
            return False
        if change.kind is Service:
            self._make_folders(change)
        must_reread = change.kind is HostsFile and self._picture.replaces(change.facts)
        if change.kind is GuardElement:
            # Two ports may claim one address for a while: a map takes no second value beside the first.
            change = replace(change, replaced=tuple({*change.replaced, *self._picture.replaced(change.facts)}))
        self._kernel.make(change)
        self._picture.remove(change.replaced)
        self._learn(change)
        for fact in change.facts:
            if isinstance(fact, Service):
                self._services.attend(fact)
        return must_reread

    def makes_service(self, changes: Plan) -> bool:
        """Tell whether a service namespace is made, in which nobody listens yet."""
        gone, made = (
            {fact.device for change in side if change.kind is Service for fact in change.facts}
            for side in (changes.removals, changes.additions)
        )
        return bool(made - (self._indices.keys() - gone))

    def sockets(self, network_uid: str) -> ServiceSockets:
        """Return new sockets in the network's service namespace."""
        names = network_names(network_uid, self._settings.namespace_prefix)
        return linux_services.sockets(self._settings.netns_dir / names.namespace)

    def forget_network(self, network_uid: str) -> None:
        """Remove the network's files, once nothing else is left of it."""
        names = network_names(network_uid, self._settings.namespace_prefix)
        hosts_files.remove_folder(self._settings.run_dir, names.directory)
        self._planned.pop(network_uid, None)
        self._planned_at.pop(network_uid, None)
        self._applied.pop(network_uid, None)
        self._unjudged.pop(network_uid, None)
        self._holders.pop(names.bridge, None)

    def create_tap(self, port_uid: str, mac: str, mtu: int) -> str:
        """See ``NetworkDriver.create_tap``."""
        name = self._kernel.devices.prepare_tap(port_uid, mac, mtu)
        found = self._picture.tap(name)
        if found and not self._kernel.devices.is_inside(name):
            self._picture.remove([found])
            self._indices.pop(name, None)
        if not self._picture.tap(name):
            self._waiting_taps.add(name)
        self._prepared.add(port_uid)
        self._publish()
        return name

    def observed(self, units: frozenset[str]) -> Observed:
        """See ``NetworkDriver.observed``; ``units`` are the processes of the launcher."""
        facts = observe(self._kernel, units).facts
        return Observed(facts, self.routers.observed(facts, units))

    def traffic(self) -> tuple[PortTraffic, ...]:
        """See ``NetworkDriver.traffic``."""
        return linux_traffic.read(self._kernel, self._picture.taps())

    def unplug(self, port_uid: str) -> None:
        """See ``NetworkDriver.unplug``."""
        name = tap_name(port_uid)
        self._kernel.devices.delete_tap(port_uid)
        devices = (name, funnel_name(port_uid))
        self._remove_strays(fact for fact in self._picture.on(devices) if isinstance(fact, _PORTS_OWN))
        self._picture.remove_devices(devices)
        for device in devices:
            self._indices.pop(device, None)
        self._waiting_taps.discard(name)
        self._prepared.discard(port_uid)
        self._unplugged |= {port_uid}
        self._publish()

    def judge(self) -> frozenset[str]:
        """Hear what happened; return the UIDs of networks and routers that somebody else changed, "" for all.

        Most of it is our own doing, which holds by now.
        """
        try:
            heard = self.events.said()
            said = heard.get(_TENANTS, Said())
            if not said.is_lost:
                return self._judged(said, heard)
        except REFUSALS as error:
            _log.warning("what the kernel says cannot be judged", error=str(error))
        except BaseException:
            self._is_stale = True
            raise
        self._is_stale = True
        return frozenset({""})

    def _judged(self, said: Said, heard: Mapping[str, Said]) -> frozenset[str]:
        ours = [event for event in said.links if self._indices.get(event.name) == event.index]
        touched = {event.name for event in ours} | (said.ports & self._indices.keys())
        disturbed = {uid for name in touched if self._is_otherwise(name) and (uid := self._picture.network_of(name))}
        disturbed |= self._displaced(said)
        disturbed |= self._services.changed(heard, self._picture)
        seen, self._commits_seen = self._commits_seen + said.commits, self._kernel.tables.commits
        if seen > self._commits_seen or sysctls.differing(sysctls.TENANTS, said.sysctls):
            disturbed.add("")
        self._is_stale |= bool(disturbed)
        closed = {uid for event in ours if self._was_closed(event) and (uid := self._picture.network_of(event.name))}
        return frozenset(disturbed | closed | self.routers.judge(said, heard))

    def _displaced(self, said: Said) -> set[str]:
        """Return the UIDs of the networks of which somebody made, changed or removed an entry."""
        found = set()
        for key, fact in said.facts.items():
            device = key[1]
            uid = self._picture.network_of(device)
            if uid and self._picture.get(device, key) != fact:
                found.add(uid)
        return found

    def _is_otherwise(self, name: str) -> bool:
        """Tell whether the device is not as it was made; what was said in passing is checked against what is."""
        made = self._picture.device(name)
        return made is not None and observe_device(self._kernel, name) != made

    def _was_closed(self, event: LinkEvent) -> bool:
        """Tell whether the event says that QEMU let go of a tap; take note of it."""
        if event.name not in self._open_taps or event.is_gone or event.has_carrier:
            return False
        if self._kernel.devices.open_taps(frozenset({event.name})):
            return False
        self._open_taps -= {event.name}
        self._publish()
        return True

    def sweep(self, units: frozenset[str]) -> frozenset[str]:
        """Compare everything with the kernel; collect taps and elements that belong to no port any more.

        A tap goes when nobody had it open and no network described it at two sweeps in a row.
        """
        touched = self.refresh(units)
        described = frozenset(tap_name(port.uid) for network in self._planned.values() for port in network.ports)
        idle = frozenset(
            uid
            for uid in self._kernel.devices.idle_taps() | self._loose_funnels()
            if tap_name(uid) not in described and uid not in self._prepared
        )
        for uid in idle & self._idle_before:
            self.unplug(uid)
        self._idle_before = idle
        policies = {policy for policy, bridge in self._picture.policies().items() if bridge in self._indices}
        outside = self._picture.on(self._picture.devices() - described - self._indices.keys() - policies)
        self._remove_strays(fact for fact in outside if isinstance(fact, (GuardElement, PacketLimit)))
        return touched

    def _loose_funnels(self) -> frozenset[str]:
        """Return the UIDs of the ports that have a funnel and no tap."""
        taps = {fact.device for fact in self._picture.taps()}
        return frozenset(fact.port_uid for fact in self._picture.funnels() if fact.tap not in taps)

    def _remove_strays(self, facts: Iterable[Fact]) -> None:
        """Remove what lies on no device that is there."""
        for change in plan(frozenset(), frozenset(facts)).removals:
            self._kernel.remove(change)
            self._picture.remove(change.facts)

    def _devices(self, network_uid: str) -> frozenset[str]:
        """Return the names of all devices that are, or were described as, the network's."""
        names = network_names(network_uid, self._settings.namespace_prefix)
        ports = {fact.port_uid for fact in self._picture.taps() if fact.bridge == names.bridge}
        planned = self._planned.get(network_uid)
        ports |= {port.uid for port in planned.ports} if planned else set()
        of_ports = {name(uid) for uid in ports for name in (tap_name, funnel_name)}
        policies = {policy for policy, bridge in self._picture.policies().items() if bridge == names.bridge}
        return frozenset(of_ports | policies | {names.bridge, names.vxlan, names.uplink, names.service})

    def _listen(self) -> None:
        """Hear what others do in the tenant namespace, unless that is so already."""
        with namespaces.entered(self._kernel.namespace):
            is_new = self.events.listen(_TENANTS)
        if is_new:
            self._commits_seen = self._kernel.tables.commits

    def _network_of(self, device: str) -> str | None:
        """Return the UID of the described network that a device which is not there would belong to."""
        return next((uid for uid in self._planned if device in self._devices(uid)), None)

    def _forget(self, change: Changes) -> None:
        self._picture.remove(change.facts)
        for fact in change.facts:
            if isinstance(fact, Tap):
                self._waiting_taps.add(fact.device)
            if isinstance(fact, Service):
                self._services.leave(fact)
            if isinstance(fact, DEVICES):
                self._indices.pop(fact.device, None)

    def _learn(self, change: Changes) -> None:
        self._picture.add(change.facts)
        for fact in change.facts:
            if isinstance(fact, Tap):
                self._open_taps |= {fact.device}
                self._waiting_taps.discard(fact.device)
            if isinstance(fact, DEVICES):
                self._indices[fact.device] = self._kernel.devices.index(fact.device)

    def _make_folders(self, change: Changes) -> None:
        for fact in change.facts:
            if isinstance(fact, Service):
                names = network_names(fact.network_uid, self._settings.namespace_prefix)
                hosts_files.make_folders(self._settings.run_dir, names.directory)


def _port_uids(*networks: HostNetwork) -> frozenset[str]:
    return frozenset(port.uid for network in networks for port in network.ports)
