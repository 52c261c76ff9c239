"""What the agent relies on from a hypervisor: the in-memory twin and libvirt with QEMU give the same answers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import libvirt
import pytest

from contract.waiting import eventually, listens
from nephos_agent.compute import libvirt_connection
from nephos_agent.compute.domain_xml import Platform
from nephos_agent.compute.libvirt_cut_start import CutStarts
from nephos_agent.compute.libvirt_driver import LibvirtDriver
from nephos_agent.compute.memory import MemoryCompute
from nephos_agent.compute.protocol import (
    ComputeDriver,
    Domain,
    DomainSpec,
    DomainState,
    NicSpec,
    PauseReason,
    StopReason,
    spec_hash,
)
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.host import HypervisorType

CLOUD = "6b1f0a52-6a3f-4a52-9a5e-7a1f2f0c1d11"
_QEMU_CONF = """
security_driver = "none"
user = "root"
group = "root"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
remember_owner = 0
"""
_LIBVIRTD_CONF = """
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
log_outputs = "3:stderr"
"""


@dataclass
class Libvirtd:
    """A libvirtd in namespaces of its own, and the one service of its host."""

    root: Path
    netns: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.root}/run/libvirt/libvirt-sock"

    def start(self) -> None:
        mounts = " && ".join(
            f"mkdir -p {path} && mount --bind {self.root}{path} {path}"
            for path in ("/run/libvirt", "/var/lib/libvirt", "/etc/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
        )
        command = f"libvirtd --pid-file {self.root}/libvirtd.pid"  # not /run's: runs side by side never meet
        with (self.root / "libvirtd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, "unshare", "--mount", "sh", "-c", f"{mounts} && exec {command}"],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while not listens(self.root / "run/libvirt/libvirt-sock"):
            assert time.monotonic() < deadline, "libvirtd did not start"
            assert self.process.poll() is None, (self.root / "libvirtd.log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()
        (self.root / "run/libvirt/libvirt-sock").unlink(missing_ok=True)

    async def restart(self, name: str) -> None:
        if name == "libvirtd":
            await asyncio.to_thread(self._restart)

    def _restart(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait()
        self.start()

    @property
    def state_folder(self) -> Path:
        return self.root / "run/libvirt/qemu"

    def kill_when_there(self, path: Path) -> None:
        deadline = time.monotonic() + 60
        while not path.exists():  # without a pause: what is to be cut off takes some milliseconds
            assert time.monotonic() < deadline
            assert self.process
            assert self.process.poll() is None
        self.kill()

    def end(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait()

    def kill_qemu(self, server_uid: str) -> None:
        for pid in self.qemus(server_uid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def qemus(self, server_uid: str) -> list[int]:
        return [pid for pid in self.processes() if server_uid in _command_of(pid)]

    def clients(self) -> int:
        """Return how many connections it has: those of its sockets that are connected (state 03 in /proc/net/unix)."""
        assert self.process
        lines = (line.split() for line in Path("/proc/self/net/unix").read_text().splitlines())
        connected = {f"socket:[{line[6]}]" for line in lines if line[5] == "03" and line[-1].endswith("/libvirt-sock")}
        held = map(_opened_by, Path(f"/proc/{self.process.pid}/fd").iterdir())
        return sum(each in connected for each in held)

    def make_tap(self, name: str) -> None:
        subprocess.run(["ip", "-n", self.netns, "tuntap", "add", name, "mode", "tap"], check=True)

    def link_flags(self, name: str) -> list[str]:
        found = subprocess.run(
            ["ip", "-n", self.netns, "-j", "link", "show", name], check=True, capture_output=True, text=True
        )
        flags: list[str] = json.loads(found.stdout)[0]["flags"]
        return flags

    def processes(self) -> list[int]:
        found = subprocess.run(["ip", "netns", "pids", self.netns], check=True, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirtd]:
    if os.geteuid() != 0 or not shutil.which("libvirtd"):
        pytest.skip("needs root and libvirtd")
    root = tmp_path_factory.mktemp("libvirtd")
    for folder in ("run/libvirt", "var/lib/libvirt", "etc/libvirt", "var/log/libvirt", "var/cache/libvirt"):
        (root / folder).mkdir(parents=True)
    (root / "etc/libvirt/qemu.conf").write_text(_QEMU_CONF)
    (root / "etc/libvirt/libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=uuid.uuid4()))
    netns = f"ct-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    daemon = Libvirtd(root, netns)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.end()
        subprocess.run(["ip", "netns", "delete", netns], check=True)


def _opened_by(descriptor: Path) -> str:
    """Return what a descriptor in /proc stands for; it may have been closed meanwhile."""
    with suppress(FileNotFoundError):
        return str(descriptor.readlink())
    return ""


def _command_of(pid: int) -> str:
    """Return how a process was started; libvirtd's short-lived helpers may have ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


class Events(list[str]):
    """What a driver told its listener."""

    def __init__(self) -> None:
        super().__init__()
        self.new = asyncio.Event()

    def append(self, server_uid: str) -> None:
        super().append(server_uid)
        self.new.set()

    async def until(self, server_uid: str) -> None:
        async with asyncio.timeout(20):
            while server_uid not in self:
                self.new.clear()
                await self.new.wait()


@dataclass
class Bench:
    """A driver under test, what it needs to make domains, and what it said."""

    driver: ComputeDriver
    events: Events
    new_spec: Callable[[], DomainSpec]
    new_nic: Callable[[], NicSpec]
    restart: Callable[[], ComputeDriver]

    async def until(self, server_uid: str, holds: Callable[[Domain | None], bool]) -> Domain | None:
        """Wait until the domain is so; it says itself when to look again, also while it is looked at."""
        async with asyncio.timeout(20):
            self.events.new.clear()
            while not holds(found := await self.driver.domain(server_uid)):
                await self.events.new.wait()
                self.events.new.clear()
        return found

    async def nics(self, server_uid: str) -> dict[str, bool]:
        """Return whether each NIC that the domain has now has a link, by tap."""
        found = await self.driver.domain(server_uid)
        assert found is not None
        return {nic.tap: nic.is_linked for nic in found.nics}

    async def started(self) -> DomainSpec:
        spec = self.new_spec()
        await self.driver.define(spec)
        await self.driver.start_paused(spec.server_uid)
        await self.driver.resume(spec.server_uid)
        return spec


def _spec(folder: Path, disk: Path, tap: str) -> DomainSpec:
    server_uid = str(uuid.uuid4())
    return DomainSpec(
        server_uid=server_uid,
        server_name="one",
        namespace="demo",
        cloud_id=CLOUD,
        placement_epoch=1,
        vcpus=1,
        memory_mib=64,
        disk=disk,
        config_drive=None,
        console_log=folder / "consoles" / f"{server_uid}.log",
        nics=(NicSpec(tap, "52:54:00:12:34:56", 1450),),
    )


def _nic(tap: str) -> NicSpec:
    return NicSpec(tap, "52:54:00:65:43:21", 1450)


@pytest.fixture(params=["memory", "libvirt"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    events = Events()
    if request.param == "memory":
        memory = MemoryCompute()
        await memory.start(events.append)
        yield Bench(
            memory, events, lambda: _spec(tmp_path, Path("/disk"), "tap0"), lambda: _nic("tap1"), lambda: memory
        )
        return
    daemon: Libvirtd = request.getfixturevalue("libvirtd")
    platform = Platform(HypervisorType.TCG, tmp_path / "vnc")
    counter = iter(range(100))

    def new_spec() -> DomainSpec:
        tap, disk = f"t{uuid.uuid4().hex[:8]}", tmp_path / f"disk{next(counter)}.qcow2"
        daemon.make_tap(tap)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
        return _spec(tmp_path, disk, tap)

    def new_nic() -> NicSpec:
        tap = f"t{uuid.uuid4().hex[:8]}"
        daemon.make_tap(tap)
        return _nic(tap)

    def new_driver() -> LibvirtDriver:
        return LibvirtDriver(daemon.uri, CLOUD, platform, CutStarts(daemon.state_folder, daemon))

    driver = new_driver()
    await driver.start(events.append)
    yield Bench(driver, events, new_spec, new_nic, new_driver)
    for domain in await driver.domains():
        await driver.destroy(domain.server_uid)
        await driver.undefine(domain.server_uid)
    await driver.close()


async def test_a_defined_domain_is_off_and_was_never_started(bench: Bench) -> None:
    spec = bench.new_spec()
    await bench.driver.define(spec)
    found = await bench.driver.domain(spec.server_uid)
    assert found is not None
    assert (found.state, found.stop_reason) == (DomainState.SHUTOFF, StopReason.NEVER_STARTED)
    assert (found.namespace, found.server_name, found.placement_epoch) == ("demo", "one", 1)
    assert (found.vcpus, found.memory_mib, found.spec_hash) == (1, 64, spec_hash(spec))


async def test_what_is_not_there_is_none(bench: Bench) -> None:
    assert await bench.driver.domain(str(uuid.uuid4())) is None
    assert await bench.driver.domains() == ()


async def test_a_domain_starts_paused_and_runs_when_resumed(bench: Bench) -> None:
    spec = bench.new_spec()
    await bench.driver.define(spec)
    await bench.driver.start_paused(spec.server_uid)
    paused = await bench.driver.domain(spec.server_uid)
    assert paused is not None
    assert (paused.state, paused.pause_reason) == (DomainState.PAUSED, PauseReason.REQUESTED)
    await bench.driver.resume(spec.server_uid)
    running = await bench.driver.domain(spec.server_uid)
    assert running is not None
    assert (running.state, running.pause_reason) == (DomainState.RUNNING, None)


async def test_every_call_may_be_repeated(bench: Bench) -> None:
    spec = bench.new_spec()
    for _ in range(2):
        await bench.driver.define(spec)
    for _ in range(2):
        await bench.driver.start_paused(spec.server_uid)
    for _ in range(2):
        await bench.driver.resume(spec.server_uid)
    await bench.driver.start_paused(spec.server_uid)
    found = await bench.driver.domain(spec.server_uid)
    assert found is not None
    assert found.state is DomainState.RUNNING
    for _ in range(2):
        await bench.driver.destroy(spec.server_uid)
    await bench.driver.request_shutdown(spec.server_uid)
    for _ in range(2):
        await bench.driver.undefine(spec.server_uid)
    assert await bench.driver.domain(spec.server_uid) is None
    await bench.driver.destroy(spec.server_uid)


async def test_a_cut_of_power_is_told_and_remembered_as_such(bench: Bench) -> None:
    spec = await bench.started()
    bench.events.clear()
    await bench.driver.destroy(spec.server_uid)
    found = await bench.until(spec.server_uid, lambda domain: domain is not None and domain.stop_reason is not None)
    assert found is not None
    assert (found.state, found.stop_reason) == (DomainState.SHUTOFF, StopReason.DESTROYED)


async def test_a_reset_is_counted_and_the_domain_runs_on(bench: Bench) -> None:
    spec = await bench.started()
    await bench.driver.reset(spec.server_uid)
    found = await bench.until(spec.server_uid, lambda domain: domain is not None and domain.resets > 0)
    assert found is not None
    # A firmware that is reset while it starts resets the machine once more by itself, several times on a busy host.
    assert (found.state, found.resets >= 1) == (DomainState.RUNNING, True)


async def test_a_redefinition_shows_in_the_hash_and_the_epoch(bench: Bench) -> None:
    spec = bench.new_spec()
    await bench.driver.define(spec)
    changed = replace(spec, memory_mib=96, placement_epoch=2)
    await bench.driver.define(changed)
    found = await bench.driver.domain(spec.server_uid)
    assert found is not None
    assert (found.memory_mib, found.placement_epoch, found.spec_hash) == (96, 2, spec_hash(changed))


async def test_what_the_hypervisor_cannot_make_is_a_permanent_fault(bench: Bench) -> None:
    with pytest.raises(PermanentFault) as caught:
        await bench.driver.define(replace(bench.new_spec(), machine_type="abacus"))
    assert caught.value.reason == "DomainUnsupported"


async def test_a_domain_that_is_gone_cannot_be_started(bench: Bench) -> None:
    with pytest.raises(TemporaryFault) as caught:
        await bench.driver.start_paused(str(uuid.uuid4()))
    assert caught.value.reason == "DomainGone"


async def test_running_domains_say_what_they_use(bench: Bench) -> None:
    spec = await bench.started()
    await bench.driver.domain(spec.server_uid)
    (stats,) = [found for found in await bench.driver.stats() if found.server_uid == spec.server_uid]
    assert stats.balloon_bytes == 64 << 20
    assert stats.memory_bytes > 0


async def test_the_hypervisor_says_what_it_is(bench: Bench) -> None:
    facts = await bench.driver.facts()
    assert facts.architecture == "x86_64"
    assert "q35" in facts.machine_types
    assert "BIOS" in facts.firmwares
    assert facts.vcpus > 0
    assert facts.memory_mib > 0


async def test_a_driver_that_restarts_finds_what_runs(bench: Bench) -> None:
    spec = await bench.started()
    await bench.driver.close()
    again = bench.restart()
    await again.start(bench.events.append)
    found = await again.domain(spec.server_uid)
    assert found is not None
    assert found.state is DomainState.RUNNING
    await again.close()
    await bench.driver.start(bench.events.append)


async def test_a_nic_that_a_running_domain_gets_has_a_link_only_when_it_is_resumed(bench: Bench) -> None:
    spec = await bench.started()
    more = replace(spec, nics=(*spec.nics, bench.new_nic()))
    for _ in range(2):
        await bench.driver.define(more)
    old, new = (nic.tap for nic in more.nics)
    assert await bench.nics(spec.server_uid) == {old: True, new: False}
    for _ in range(2):
        await bench.driver.resume(spec.server_uid)
    assert await bench.nics(spec.server_uid) == {old: True, new: True}


async def test_a_nic_that_was_added_is_there_after_the_next_start(bench: Bench) -> None:
    spec = await bench.started()
    more = replace(spec, nics=(*spec.nics, bench.new_nic()))
    await bench.driver.define(more)
    await bench.driver.destroy(spec.server_uid)
    assert await bench.nics(spec.server_uid) == {}
    await bench.driver.start_paused(spec.server_uid)
    assert await bench.nics(spec.server_uid) == {nic.tap: True for nic in more.nics}


async def test_a_nic_that_is_taken_away_has_no_link_at_once_and_is_gone_after_a_reset(bench: Bench) -> None:
    spec = await bench.started()
    fewer = replace(spec, nics=())
    for _ in range(2):
        await bench.driver.define(fewer)
        await bench.driver.resume(spec.server_uid)
        assert not any((await bench.nics(spec.server_uid)).values())
    await bench.driver.reset(spec.server_uid)
    await bench.until(spec.server_uid, lambda domain: domain is not None and domain.nics == ())


# What only the real hypervisor can show.


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_the_tap_of_a_nic_that_is_added_stays_down(bench: Bench, libvirtd: Libvirtd) -> None:
    spec = await bench.started()
    nic = bench.new_nic()
    await bench.driver.define(replace(spec, nics=(*spec.nics, nic)))
    assert "UP" not in libvirtd.link_flags(nic.tap)


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_a_running_domain_takes_as_many_nics_as_a_server_may_list(bench: Bench) -> None:
    spec = await bench.started()
    added = tuple(replace(bench.new_nic(), mac=f"52:54:00:00:00:{number:02x}") for number in range(15))
    await bench.driver.define(replace(spec, nics=(*spec.nics, *added)))
    assert len(await bench.nics(spec.server_uid)) == 16


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_the_console_is_written_to_the_log(bench: Bench) -> None:
    spec = await bench.started()
    assert spec.console_log.exists()


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_foreign_domains_are_neither_seen_nor_touched(bench: Bench, libvirtd: Libvirtd, tmp_path: Path) -> None:
    spec = bench.new_spec()
    platform = Platform(HypervisorType.TCG, tmp_path / "vnc")
    other = LibvirtDriver(libvirtd.uri, str(uuid.uuid4()), platform, CutStarts(libvirtd.state_folder, libvirtd))
    await other.start(lambda _uid: None)
    assert isinstance(bench.driver, LibvirtDriver)
    await bench.driver.define(spec)
    assert await other.domain(spec.server_uid) is None
    assert await other.domains() == ()
    await other.destroy(spec.server_uid)
    await other.undefine(spec.server_uid)
    with pytest.raises(PermanentFault) as caught:
        await other.define(spec)
    assert caught.value.reason == "ForeignDomain"
    assert await bench.driver.domain(spec.server_uid) is not None
    await other.close()


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_a_qemu_that_is_killed_is_told_as_failed(bench: Bench, libvirtd: Libvirtd) -> None:
    spec = await bench.started()
    libvirtd.kill_qemu(spec.server_uid)
    found = await bench.until(spec.server_uid, lambda domain: domain is not None and domain.stop_reason is not None)
    assert found is not None
    assert (found.state, found.stop_reason) == (DomainState.SHUTOFF, StopReason.FAILED)


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_a_libvirtd_that_dies_is_a_temporary_fault_and_its_return_is_told(
    bench: Bench, libvirtd: Libvirtd
) -> None:
    spec = await bench.started()
    libvirtd.kill()
    with pytest.raises(TemporaryFault) as caught:
        await bench.driver.domain(spec.server_uid)
    assert caught.value.reason == "HypervisorUnavailable"
    bench.events.clear()
    libvirtd.start()
    await bench.events.until("")
    found = await bench.driver.domain(spec.server_uid)
    assert found is not None
    assert found.state is DomainState.RUNNING


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_a_start_that_is_cut_off_by_libvirtds_death_is_undone_and_guests_go_on(
    bench: Bench, libvirtd: Libvirtd
) -> None:
    other = await bench.started()
    before = libvirtd.qemus(other.server_uid)
    spec = bench.new_spec()
    await bench.driver.define(spec)
    await _cut_start_off(bench, libvirtd, spec)
    found = await bench.driver.domain(spec.server_uid)
    assert found is not None
    assert (found.state, found.pause_reason) == (DomainState.PAUSED, PauseReason.STARTING)
    assert libvirtd.qemus(spec.server_uid) == []
    bench.events.clear()
    with pytest.raises(TemporaryFault) as caught:  # as long as libvirtd waits for a start to end: half a minute
        await bench.driver.start_paused(spec.server_uid)
    assert caught.value.reason == "StartNotOver"
    await bench.events.until("")
    found = await bench.driver.domain(spec.server_uid)
    assert found is not None
    assert (found.state, found.stop_reason) == (DomainState.SHUTOFF, StopReason.NEVER_STARTED)
    await bench.driver.start_paused(spec.server_uid)
    await bench.driver.resume(spec.server_uid)
    assert len(libvirtd.qemus(spec.server_uid)) == 1
    assert libvirtd.qemus(other.server_uid) == before


async def _cut_start_off(bench: Bench, libvirtd: Libvirtd, spec: DomainSpec) -> None:
    """Kill libvirtd in a start before it has noted a process, and start it again."""
    domain = await bench.driver.domain(spec.server_uid)
    assert domain is not None
    status = libvirtd.state_folder / f"{domain.name}.xml"
    for _ in range(20):
        killer = asyncio.create_task(asyncio.to_thread(libvirtd.kill_when_there, status))
        with suppress(TemporaryFault):
            await bench.driver.start_paused(spec.server_uid)
        await killer
        is_cut = "<domstatus state='paused' reason='starting up' pid='0'>" in status.read_text()
        bench.events.clear()
        await asyncio.to_thread(libvirtd.start)
        await bench.events.until("")
        if is_cut:
            return
        await bench.driver.destroy(spec.server_uid)  # killed too late: there are some milliseconds only
    raise AssertionError("no start was cut off in time")


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_a_hung_libvirtd_does_not_hold_up_the_loop(bench: Bench, libvirtd: Libvirtd) -> None:
    assert libvirtd.process
    libvirtd.process.send_signal(signal.SIGSTOP)
    try:
        call = asyncio.create_task(bench.driver.domains())
        started = time.monotonic()
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert time.monotonic() - started < 5.0
        assert not call.done()
    finally:
        libvirtd.process.send_signal(signal.SIGCONT)
    assert await call == ()


@pytest.mark.parametrize("bench", ["libvirt"], indirect=True)
async def test_tries_to_reach_a_libvirtd_that_hangs_leave_no_connection_behind(
    bench: Bench, libvirtd: Libvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = libvirtd.clients()
    tried: list[str] = []
    opened: list[str] = []
    really_open = libvirt.open

    def open_and_note(uri: str) -> libvirt.virConnect:
        tried.append(uri)
        connection = really_open(uri)
        opened.append(uri)
        return connection

    async def has_tried_again() -> bool:
        return len(tried) > 2

    async def has(more: int) -> bool:
        return len(opened) == len(tried) and libvirtd.clients() == before + more

    monkeypatch.setattr(libvirt, "open", open_and_note)
    monkeypatch.setattr(libvirt_connection, "_CONNECT_TIMEOUT_S", 0.2)
    platform = Platform(HypervisorType.TCG, tmp_path / "vnc")
    driver = LibvirtDriver(libvirtd.uri, CLOUD, platform, CutStarts(libvirtd.state_folder, libvirtd))
    assert libvirtd.process
    libvirtd.process.send_signal(signal.SIGSTOP)
    try:
        await driver.start(lambda _uid: None)
        await eventually(has_tried_again)
        monkeypatch.setattr(libvirt_connection, "_CONNECT_TIMEOUT_S", 20.0)
    finally:
        libvirtd.process.send_signal(signal.SIGCONT)
    await eventually(lambda: has(1))
    assert await driver.domains() == await bench.driver.domains()
    await driver.close()
    await eventually(lambda: has(0))
