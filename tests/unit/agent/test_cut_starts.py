"""A start that libvirtd's death cut off: which one it is, and that it is undone wherever an agent was cut off in it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from nephos_agent.compute.libvirt_cut_start import CutStarts
from nephos_api.errors import TemporaryFault

_STATUS = "<!-- made by libvirt -->\n<domstatus state='paused' reason='starting up' pid='{pid}'><domain/></domstatus>\n"


class Services:
    """The host's services: they note that they are restarted."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.restarted: list[str] = []

    async def restart(self, name: str) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise TemporaryFault("no bus", reason="Launcher")
        self.restarted.append(name)


ONCE = ["libvirtd", "virtqemud"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """libvirtd's, who started at 1000 s."""
    (tmp_path / "driver.pid").write_text("17")
    os.utime(tmp_path / "driver.pid", (1000, 1000))
    return tmp_path


def note_start(folder: Path, name: str, *, at_s: int, pid: int = 0) -> Path:
    status = folder / f"{name}.xml"
    status.write_text(_STATUS.format(pid=pid))
    os.utime(status, (at_s, at_s))
    return status


async def test_a_start_of_an_earlier_libvirtd_without_a_process_is_forgotten(folder: Path) -> None:
    services, status = Services(), note_start(folder, "one", at_s=999)
    await CutStarts(folder, services).undo("one")
    assert not status.exists()
    assert services.restarted == ONCE


@pytest.mark.parametrize(("at_s", "pid"), [(1001, 0), (999, 4711), (1001, 4711)])
async def test_a_start_that_libvirtd_is_at_or_that_has_a_process_is_left_to_it(
    folder: Path, at_s: int, pid: int
) -> None:
    services, status = Services(), note_start(folder, "one", at_s=at_s, pid=pid)
    await CutStarts(folder, services).undo("one")
    assert status.exists()
    assert services.restarted == []


async def test_nothing_is_done_behind_the_back_of_a_libvirtd_that_has_ended(folder: Path) -> None:
    services, status = Services(), note_start(folder, "one", at_s=999)
    (folder / "driver.pid").unlink()
    await CutStarts(folder, services).undo("one")
    assert status.exists()
    assert services.restarted == []


async def test_an_agent_that_died_before_the_restart_has_a_successor_who_asks_for_it(folder: Path) -> None:
    note_start(folder, "one", at_s=999)
    with pytest.raises(TemporaryFault):
        await CutStarts(folder, Services(is_away=True)).undo("one")
    services = Services()
    await CutStarts(folder, services).undo("one")
    assert services.restarted == ONCE


async def test_a_libvirtd_that_was_restarted_is_not_restarted_for_the_same_start_again(folder: Path) -> None:
    note_start(folder, "one", at_s=999)
    services, now = Services(), [500.0]
    cut_starts = CutStarts(folder, services, clock=lambda: now[0])
    await cut_starts.undo("one")
    (folder / "driver.pid").write_text("18")
    for now[0] in (600.0, 700.0):
        await cut_starts.undo("one")
    assert services.restarted == ONCE


async def test_a_start_that_libvirtd_has_not_noted_yet_is_left_to_it(folder: Path) -> None:
    services = Services()
    await CutStarts(folder, services).undo("one")
    assert services.restarted == []


async def test_starts_that_were_cut_off_together_share_a_restart(folder: Path) -> None:
    services, starts = Services(), [note_start(folder, name, at_s=999) for name in ("one", "two", "three")]
    cut_starts = CutStarts(folder, services)
    await asyncio.gather(*(cut_starts.undo(status.stem) for status in starts))
    assert not any(status.exists() for status in starts)
    assert services.restarted == ONCE


async def test_a_restart_is_followed_by_another_only_after_a_while(folder: Path) -> None:
    note_start(folder, "one", at_s=999)
    services, now = Services(), [500.0]
    cut_starts = CutStarts(folder, services, clock=lambda: now[0])
    for now[0] in (500.0, 529.0, 531.0):
        await cut_starts.undo("one")
    assert services.restarted == 2 * ONCE
