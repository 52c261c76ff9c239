"""What the agent relies on from what keeps its long-lived processes: memory, a real supervisord, systemd's D-Bus API.

systemd itself does not run where these tests do: its part is played by a bus that keeps units as systemd does.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, MessageType

from contract.waiting import eventually, listens
from nephos_agent.launcher import supervisor
from nephos_agent.launcher.memory import MemoryLauncher
from nephos_agent.launcher.protocol import HostServices, Launcher, Unit
from nephos_agent.launcher.supervisor import SupervisorLauncher, render
from nephos_agent.launcher.systemd import BusError, SystemBus, SystemdLauncher
from nephos_api.errors import TemporaryFault

_SUPERVISORD = """
[unix_http_server]
file={root}/s.sock
[supervisord]
logfile={root}/supervisord.log
pidfile={root}/supervisord.pid
childlogdir={root}
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files={root}/units/*.conf
"""


@dataclass
class SystemdBus:
    """systemd's manager, as far as transient units go: kept by name, gone when they are stopped."""

    units: dict[str, str] = field(default_factory=dict)
    services: dict[str, int] = field(default_factory=dict)
    """The host's own units: how often each that runs was restarted."""
    starts: list[str] = field(default_factory=list)
    signals: list[tuple[str, int]] = field(default_factory=list)
    is_away: bool = False

    async def call(self, member: str, signature: str, body: list[Any]) -> list[Any]:
        if self.is_away:
            raise BusError("Disconnected", "no bus")
        match member, signature:
            case "ListUnitsByPatterns", "asas":
                assert body == [[], ["nephos-*.service"]]
                return [[[name, text, "loaded", "active"] for name, text in self.units.items()]]
            case "KillUnit", "ssi":
                name, who, number = body
                if name not in self.units:
                    raise BusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not loaded.")
                assert who == "main"
                self.signals.append((name.removesuffix(".service"), number))
                return []
        raise AssertionError(f"systemd has no {member}({signature})")

    async def run_job(self, member: str, signature: str, body: list[Any]) -> None:
        if self.is_away:
            raise BusError("Disconnected", "no bus")
        match member, signature:
            case "StartTransientUnit", "ssa(sv)a(sa(sv))":
                name, mode, properties, _auxiliary = body
                assert mode == "replace"
                if name in self.units:
                    raise BusError("org.freedesktop.systemd1.UnitExists", f"Unit {name} already exists.")
                values = {key: variant.value for key, variant in properties}
                assert values["Restart"] == "always"
                ((path, arguments, _ignore_failure),) = values["ExecStart"]
                assert path == arguments[0]
                self.units[name] = values["Description"]
                self.starts.append(name.removesuffix(".service"))
            case "StopUnit", "ss":
                if self.units.pop(body[0], None) is None:
                    raise BusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {body[0]} not loaded.")
            case "TryRestartUnit", "ss":
                name, mode = body
                assert mode == "replace"
                if name not in self.services:
                    raise BusError("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not found.")
                self.services[name] += 1
            case _:
                raise AssertionError(f"systemd has no {member}({signature})")


def _job_removed(job: str) -> Message:
    return Message(
        message_type=MessageType.SIGNAL,
        path="/org/freedesktop/systemd1",
        interface="org.freedesktop.systemd1.Manager",
        member="JobRemoved",
        signature="uoss",
        body=[7, job, "some.service", "done"],
    )


async def test_a_job_that_is_over_before_systemd_has_named_it_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus = SystemBus()

    async def call(*_arguments: Any) -> list[Any]:
        bus._on_message(_job_removed("/org/freedesktop/systemd1/job/7"))
        return ["/org/freedesktop/systemd1/job/7"]

    monkeypatch.setattr(bus, "call", call)
    async with asyncio.timeout(10):
        await bus.run_job("StopUnit", "ss", ["nephos-test-one.service", "replace"])
    assert not bus._ended


def test_jobs_of_others_are_not_kept() -> None:
    bus = SystemBus()
    bus._on_message(_job_removed("/org/freedesktop/systemd1/job/8"))
    assert not bus._ended


@dataclass
class Bench:
    """A launcher, and how to see what it started."""

    launcher: Launcher
    folder: Path
    starts: Callable[[str], Awaitable[int]]
    """How often the unit of that name was started, as far as it is known."""
    signalled: Callable[[str], Awaitable[bool]]

    def unit(self, name: str = "nephos-test-one", *arguments: str) -> Unit:
        """A process that notes each start and each SIGHUP in a file, and goes on until it is ended."""
        script = 'trap "echo hup >> $0" HUP; echo start >> $0; while :; do sleep 0.05; done'
        return Unit(name, ("/bin/sh", "-c", script, str(self.folder / name), *arguments), "A process of a test")


def _wait_for_socket(path: Path) -> None:
    deadline = time.monotonic() + 15
    while not listens(path):
        assert time.monotonic() < deadline, "supervisord did not start"
        time.sleep(0.02)


@pytest.fixture(params=["memory", "supervisor", "systemd"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "memory":
        memory = MemoryLauncher()

        async def memory_signalled(name: str) -> bool:
            return (name, signal.SIGHUP) in memory.signals

        yield Bench(memory, tmp_path, _count(memory.starts), memory_signalled)
        return
    if request.param == "systemd":
        bus = SystemdBus()

        async def bus_signalled(name: str) -> bool:
            return (name, signal.SIGHUP) in bus.signals

        yield Bench(SystemdLauncher(bus), tmp_path, _count(bus.starts), bus_signalled)
        return
    process = _start_supervisord(tmp_path)

    async def signalled(name: str) -> bool:
        return "hup" in _notes(tmp_path / name)

    launcher = SupervisorLauncher(tmp_path / "s.sock", tmp_path / "units")
    yield Bench(launcher, tmp_path, lambda name: _starts(tmp_path / name), signalled)
    process.terminate()
    await asyncio.to_thread(process.wait, 20)


def _count(starts: list[str]) -> Callable[[str], Awaitable[int]]:
    async def count(name: str) -> int:
        return starts.count(name)

    return count


def _notes(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _start_supervisord(root: Path) -> subprocess.Popen[bytes]:
    (root / "supervisord.conf").write_text(_SUPERVISORD.format(root=root))
    program = shutil.which("supervisord", path=str(Path(sys.executable).parent))
    assert program
    command = [program, "--configuration", str(root / "supervisord.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for_socket(root / "s.sock")
    return process


async def test_a_unit_is_started_and_listed(bench: Bench) -> None:
    unit = bench.unit()
    await bench.launcher.start(unit)
    await eventually(lambda: _is(bench.starts(unit.name), 1))
    assert await bench.launcher.units() == {unit.name}


async def test_a_unit_that_is_as_described_is_left_alone(bench: Bench) -> None:
    unit = bench.unit()
    for _ in range(3):
        await bench.launcher.start(unit)
    await eventually(lambda: _is(bench.starts(unit.name), 1))
    await bench.launcher.start(unit)
    assert await bench.starts(unit.name) == 1


async def test_a_unit_whose_arguments_changed_is_restarted(bench: Bench) -> None:
    await bench.launcher.start(bench.unit())
    await eventually(lambda: _is(bench.starts("nephos-test-one"), 1))
    await bench.launcher.start(bench.unit("nephos-test-one", "50%", "with space", "quote'\""))
    await eventually(lambda: _is(bench.starts("nephos-test-one"), 2))
    assert await bench.launcher.units() == {"nephos-test-one"}


async def test_a_unit_that_is_restarted_is_away_for_a_moment_only(tmp_path: Path) -> None:
    process = _start_supervisord(tmp_path)
    launcher = SupervisorLauncher(tmp_path / "s.sock", tmp_path / "units")
    note = tmp_path / "note"
    script = 'trap "date +%s.%N >> $0; exit" TERM; date +%s.%N >> $0; while :; do sleep 0.01; done'
    for turn in range(4):
        argv = ("/bin/sh", "-c", script, str(note), str(turn))
        await launcher.start(Unit("nephos-test-one", argv, "A test's process"))
        await eventually(lambda turn=turn: _is_long(note, 2 * turn + 1))  # type: ignore[misc]  # why: bound per turn
    process.terminate()
    await asyncio.to_thread(process.wait, 20)
    times = [float(word) for word in _notes(note)]
    away_s = [start - end for end, start in zip(times[1:-1:2], times[2::2], strict=False)]
    assert len(away_s) == 3
    assert min(away_s) < 0.5, "a supervisord looks by itself once a second"


async def test_a_unit_that_keeps_failing_is_replaced_all_the_same(tmp_path: Path) -> None:
    process = _start_supervisord(tmp_path)
    launcher = SupervisorLauncher(tmp_path / "s.sock", tmp_path / "units")
    note = tmp_path / "note"
    for turn in map(str, range(20)):
        argv = ("/bin/sh", "-c", "echo $1 >> $0; sleep 0.01", str(note), turn)
        await launcher.start(Unit("nephos-test-one", argv, "A test's process"))
        await eventually(lambda turn=turn: _says(note, turn))  # type: ignore[misc]  # why: bound per turn
    process.terminate()
    await asyncio.to_thread(process.wait, 20)


async def test_a_unit_whose_replacement_was_cut_off_is_replaced_the_next_time(tmp_path: Path) -> None:
    process = _start_supervisord(tmp_path)
    folder, note = tmp_path / "units", tmp_path / "note"
    launcher = SupervisorLauncher(tmp_path / "s.sock", folder)
    argv = ("/bin/sh", "-c", "echo $1 >> $0; exec sleep 60", str(note))
    await launcher.start(Unit("nephos-test-one", (*argv, "former"), "A test's process"))
    later = Unit("nephos-test-one", (*argv, "later"), "A test's process")
    (folder / "nephos-test-one.conf").write_text(render(later))
    await launcher.start(later)
    await eventually(lambda: _says(note, "later"))
    other = Unit("nephos-test-two", (*argv, "other"), "A test's process")
    (folder / "nephos-test-two.conf").write_text(render(other))
    assert await launcher.units() == {"nephos-test-one"}
    await launcher.start(other)
    await eventually(lambda: _says(note, "other"))
    process.terminate()
    await asyncio.to_thread(process.wait, 20)


async def test_a_stopped_unit_is_forgotten_and_can_come_back(bench: Bench) -> None:
    unit = bench.unit()
    await bench.launcher.start(unit)
    await eventually(lambda: _is(bench.starts(unit.name), 1))
    for _ in range(2):
        await bench.launcher.stop(unit.name)
    assert await bench.launcher.units() == frozenset()
    await bench.launcher.start(unit)
    await eventually(lambda: _is(bench.starts(unit.name), 2))


async def test_units_do_not_disturb_each_other(bench: Bench) -> None:
    units = [bench.unit(f"nephos-test-{number}") for number in range(3)]
    await asyncio.gather(*(bench.launcher.start(unit) for unit in units))
    await bench.launcher.stop("nephos-test-1")
    for name in ("nephos-test-0", "nephos-test-2"):
        await eventually(lambda name=name: _is(bench.starts(name), 1))  # type: ignore[misc]  # why: bound per turn
    assert await bench.launcher.units() == {"nephos-test-0", "nephos-test-2"}


async def test_a_signal_reaches_the_process(bench: Bench) -> None:
    unit = bench.unit()
    await bench.launcher.start(unit)
    await eventually(lambda: _is(bench.starts(unit.name), 1))
    await bench.launcher.signal(unit.name, signal.SIGHUP)
    await eventually(lambda: bench.signalled(unit.name))


async def test_a_signal_to_nobody_is_no_error(bench: Bench) -> None:
    await bench.launcher.signal("nephos-test-nobody", signal.SIGHUP)


async def _says(note: Path, word: str) -> bool:
    return word in _notes(note)


async def _is_long(note: Path, count: int) -> bool:
    return len(_notes(note)) == count


async def _is(value: Awaitable[int], wanted: int) -> bool:
    return await value == wanted


async def test_a_supervisor_that_is_away_is_a_temporary_fault(tmp_path: Path) -> None:
    launcher = SupervisorLauncher(tmp_path / "nobody.sock", tmp_path / "units")
    with pytest.raises(TemporaryFault):
        await launcher.start(Unit("nephos-test-one", ("/bin/true",), "A process of a test"))


async def test_a_systemd_that_is_away_is_a_temporary_fault() -> None:
    launcher = SystemdLauncher(SystemdBus(is_away=True))
    with pytest.raises(TemporaryFault):
        await launcher.start(Unit("nephos-test-one", ("/bin/true",), "A process of a test"))


async def test_a_unit_that_somebody_stopped_is_started_again(tmp_path: Path) -> None:
    process = _start_supervisord(tmp_path)
    launcher = SupervisorLauncher(tmp_path / "s.sock", tmp_path / "units")
    note = tmp_path / "note"
    unit = Unit("nephos-test-one", ("/bin/sh", "-c", "echo start >> $0; exec sleep 60", str(note)), "A test's process")
    await launcher.start(unit)
    await eventually(lambda: _is(_starts(note), 1))
    control = shutil.which("supervisorctl", path=str(Path(sys.executable).parent))
    assert control
    command = [control, "-s", f"unix://{tmp_path}/s.sock", "stop", unit.name]
    await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    assert await launcher.units() == frozenset()
    await launcher.start(unit)
    await eventually(lambda: _is(_starts(note), 2))
    process.terminate()
    await asyncio.to_thread(process.wait, 20)


@pytest.mark.parametrize("mood", ["heeds", "deaf"])
async def test_a_service_of_the_hosts_supervisor_is_restarted_whether_or_not_it_heeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    monkeypatch.setattr(supervisor, "_END_TIMEOUT_S", 1.0)
    note = tmp_path / "note"
    deaf_once = '[ -e "$0" ] || trap "" TERM;' if mood == "deaf" else ""
    script = f'{deaf_once} echo start >> "$0"; while :; do sleep 0.05; done'
    service = Unit("libvirtd", ("/bin/sh", "-c", script, str(note)), "A service of the host")
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "libvirtd.conf").write_text(render(service))
    process = _start_supervisord(tmp_path)
    await eventually(lambda: _is(_starts(note), 1))
    launcher = SupervisorLauncher(tmp_path / "s.sock", tmp_path / "units")
    await launcher.restart("libvirtd")
    await launcher.restart("virtqemud")
    await eventually(lambda: _is(_starts(note), 2))
    process.terminate()
    await asyncio.to_thread(process.wait, 20)


async def test_a_service_of_the_hosts_systemd_is_restarted_if_there_is_one() -> None:
    bus = SystemdBus(services={"virtqemud.service": 0})
    for name in ("libvirtd", "virtqemud"):
        await SystemdLauncher(bus).restart(name)
    assert bus.services == {"virtqemud.service": 1}


@pytest.mark.parametrize("kind", ["supervisor", "systemd"])
async def test_nobody_who_could_restart_a_service_is_a_temporary_fault(tmp_path: Path, kind: str) -> None:
    services: HostServices = SystemdLauncher(SystemdBus(is_away=True))
    if kind == "supervisor":
        services = SupervisorLauncher(tmp_path / "nobody.sock", tmp_path / "units")
    with pytest.raises(TemporaryFault):
        await services.restart("libvirtd")


async def _starts(note: Path) -> int:
    return _notes(note).count("start")
