"""Disks as files: what lies where, what survives a kill, what is never touched."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.storage.cache import FREE_SHARE, Entry, Space, plan_eviction
from nephos_agent.storage.local import LocalStorage
from nephos_agent.storage.mark import Mark, write_mark
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.image import ImageFormat
from nephos_api.resources.server import ServerImage

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ROOMY = Space(total_bytes=1 << 40, free_bytes=1 << 39)


class Source:
    """An image service that counts, and breaks off where it is told to."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.break_at: int | None = None
        self.error: OSError | None = None
        self.wanted = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def read(self, _sha256: str, offset: int) -> AsyncGenerator[bytes, None]:
        self.reads.append(offset)
        self.wanted.set()
        await self.may_go_on.wait()
        for start in range(offset, len(CONTENT), 65_536):
            if self.error:
                raise self.error
            if self.break_at is not None and start >= self.break_at:
                raise TemporaryFault("broken off", reason="ImageServiceUnavailable")
            await asyncio.sleep(0)
            yield CONTENT[start : start + 65_536]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def storage(tmp_path: Path, source: Source) -> LocalStorage:
    driver = LocalStorage(tmp_path, "cloud-1", source)
    await driver.start()
    return driver


def image(image_format: ImageFormat = ImageFormat.RAW) -> ServerImage:
    return ServerImage(
        name="tiny",
        namespace="demo",
        uid="image-uid",
        sha256=SHA256,
        format=image_format,
        size_bytes=len(CONTENT),
        virtual_size_bytes=len(CONTENT),
    )


def ignore(_percent: int) -> None:
    pass


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def info(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run("qemu-img", "info", "--output=json", path))
    return parsed


async def test_a_disk_is_an_overlay_that_qemu_accepts_and_reads_the_image_through(
    storage: LocalStorage, tmp_path: Path
) -> None:
    path = await storage.ensure_disk("uid-1", "demo", "web", image(), 3)
    found = info(path)
    assert (found["format"], found["virtual-size"]) == ("qcow2", 3 << 30)
    assert (found["backing-filename"], found["backing-filename-format"]) == ("base", "raw")
    run("qemu-img", "check", "-q", path)
    run("qemu-img", "convert", "-O", "raw", path, tmp_path / "flat")
    with (tmp_path / "flat").open("rb") as flat:
        assert flat.read(len(CONTENT)) == CONTENT


async def test_concurrent_requests_for_one_image_share_one_fetch(storage: LocalStorage, source: Source) -> None:
    heard: list[int] = []
    paths = await asyncio.gather(*(storage.ensure_base(image(), heard.append) for _ in range(10)))
    assert len(set(paths)) == 1
    assert source.reads == [0]
    assert heard.count(100) == 10


async def test_a_waiter_that_gives_up_does_not_end_the_fetch_of_the_others(
    storage: LocalStorage, source: Source
) -> None:
    source.may_go_on.clear()
    impatient = asyncio.create_task(storage.ensure_base(image(), ignore))
    patient = asyncio.create_task(storage.ensure_base(image(), ignore))
    await source.wanted.wait()
    (fetch,) = storage._cache._fetches.values()
    async with asyncio.timeout(20):
        while len(fetch.listeners) < 2:  # noqa: ASYNC110  # why: one turn of the loop, not a time
            await asyncio.sleep(0)
    impatient.cancel()
    source.may_go_on.set()
    assert (await patient).read_bytes() == CONTENT
    assert source.reads == [0]


async def test_an_interrupted_fetch_goes_on_where_it_was(storage: LocalStorage, source: Source, tmp_path: Path) -> None:
    source.break_at = len(CONTENT) // 2
    with pytest.raises(TemporaryFault):
        await storage.ensure_base(image(), ignore)
    source.break_at = None
    reborn = LocalStorage(tmp_path, "cloud-1", source)
    await reborn.start()
    assert (await reborn.ensure_base(image(), ignore)).read_bytes() == CONTENT
    assert source.reads == [0, len(CONTENT) // 2]


async def test_what_an_interrupted_fetch_left_is_not_trusted(
    storage: LocalStorage, source: Source, tmp_path: Path
) -> None:
    (tmp_path / "images/cloud-1" / f"{SHA256}.partial").write_bytes(b"garbage")
    assert (await storage.ensure_base(image(), ignore)).read_bytes() == CONTENT
    assert source.reads == [7, 0]


async def test_a_full_disk_is_said_and_leaves_no_half_file(
    storage: LocalStorage, source: Source, tmp_path: Path
) -> None:
    source.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TemporaryFault) as raised:
        await storage.ensure_base(image(), ignore)
    assert raised.value.reason == "DiskFull"
    assert list((tmp_path / "images/cloud-1").iterdir()) == []


async def test_an_image_that_would_fill_the_disk_is_not_begun(tmp_path: Path, source: Source) -> None:
    storage = LocalStorage(tmp_path, "cloud-1", source, space=lambda _path: Space(10 * len(CONTENT), len(CONTENT)))
    await storage.start()
    with pytest.raises(TemporaryFault) as raised:
        await storage.ensure_base(image(), ignore)
    assert raised.value.reason == "DiskFull"
    assert source.reads == []


async def test_a_kill_while_a_disk_is_made_leaves_nothing_after_the_restart(
    storage: LocalStorage, source: Source, tmp_path: Path
) -> None:
    folder = tmp_path / "servers/uid-1"
    folder.mkdir()
    write_mark(folder, Mark(cloud_id="cloud-1", server_uid="uid-1"))
    (folder / "disk.qcow2.partial").write_bytes(b"half")
    await LocalStorage(tmp_path, "cloud-1", source).start()
    assert list((tmp_path / "servers").iterdir()) == []


async def test_a_kill_while_a_folder_is_removed_leaves_nothing_after_the_restart(
    storage: LocalStorage, source: Source, tmp_path: Path
) -> None:
    path = await storage.ensure_disk("uid-1", "demo", "web", image(), 1)
    path.unlink()
    await LocalStorage(tmp_path, "cloud-1", source).start()
    assert list((tmp_path / "servers").iterdir()) == []


@pytest.mark.parametrize("left", [(), ("mark.json.partial",)])
async def test_a_kill_before_a_folder_is_marked_leaves_nothing_once_the_server_is_deleted(
    storage: LocalStorage, tmp_path: Path, left: tuple[str, ...]
) -> None:
    folder = tmp_path / "servers/uid-1"
    folder.mkdir()
    for name in left:
        (folder / name).write_bytes(b'{"cloudId": "clo')
    await storage.start()
    await storage.delete("uid-1")
    assert not folder.exists()


async def test_what_carries_another_clouds_mark_or_none_is_never_touched(
    storage: LocalStorage, source: Source, tmp_path: Path
) -> None:
    other = LocalStorage(tmp_path, "cloud-2", source)
    await other.start()
    theirs = await other.ensure_disk("uid-2", "demo", "web", image(), 1)
    unmarked = tmp_path / "servers/uid-3"
    unmarked.mkdir()
    (unmarked / "disk.qcow2").write_bytes(b"somebody's")

    assert await storage.disks() == ()
    for uid in ("uid-2", "uid-3"):
        await storage.delete(uid)
        await storage.trash(uid)
    await storage.sweep()
    await storage.start()
    for uid in ("uid-2", "uid-3"):
        with pytest.raises(PermanentFault, match=uid):
            await storage.ensure_disk(uid, "demo", "web", image(), 1)
        with pytest.raises(PermanentFault, match=uid):
            await storage.ensure_config_drive(uid, {"openstack/latest/user_data": b"#!"})

    assert info(theirs)["format"] == "qcow2"
    assert (unmarked / "disk.qcow2").read_bytes() == b"somebody's"
    assert len(await other.disks()) == 1


async def test_what_is_a_tenants_is_read_by_nobody_else_on_the_host(storage: LocalStorage) -> None:
    disk = await storage.ensure_disk("uid-1", "demo", "web", image(), 1)
    drive = await storage.ensure_config_drive("uid-1", {"openstack/latest/user_data": b"#!"})
    assert [path.stat().st_mode & 0o777 for path in (disk, drive)] == [0o600, 0o600]


async def test_what_somebody_else_put_into_the_trash_stays_there(
    storage: LocalStorage, source: Source, tmp_path: Path
) -> None:
    trash = tmp_path / "trash/cloud-1"
    for name in ("lost+found", "notes.txt", "uid-1.later"):
        (trash / name).mkdir()
    await storage.ensure_disk("uid-1", "demo", "web", image(), 1)
    await storage.trash("uid-1")
    late = LocalStorage(tmp_path, "cloud-1", source, now=lambda: time.time() + 8 * 24 * 3600)
    await late.sweep()
    assert {path.name for path in trash.iterdir()} == {"lost+found", "notes.txt", "uid-1.later"}


async def test_an_unused_image_is_evicted_when_space_is_short_and_a_used_one_is_not(
    tmp_path: Path, source: Source
) -> None:
    space = [ROOMY]
    storage = LocalStorage(tmp_path, "cloud-1", source, space=lambda _path: space[0])
    await storage.start()
    disk = await storage.ensure_disk("uid-1", "demo", "web", image(), 1)
    space[0] = Space(total_bytes=1 << 40, free_bytes=0)
    await storage.sweep()
    assert (tmp_path / "images/cloud-1" / SHA256).exists()
    await storage.delete("uid-1")
    await storage.sweep()
    assert not (tmp_path / "images/cloud-1" / SHA256).exists()
    assert not disk.exists()


async def test_a_guest_keeps_its_base_even_if_the_cache_loses_it(storage: LocalStorage, tmp_path: Path) -> None:
    path = await storage.ensure_disk("uid-1", "demo", "web", image(), 1)
    (tmp_path / "images/cloud-1" / SHA256).unlink()
    run("qemu-img", "convert", "-O", "raw", path, tmp_path / "flat")


async def test_a_config_drive_carries_its_label_and_is_not_rewritten_without_a_change(storage: LocalStorage) -> None:
    files = {
        "openstack/latest/meta_data.json": b"{}",
        "openstack/latest/network_data.json": b"{}",
        "ec2/latest/meta-data.json": b"",
    }
    path = await storage.ensure_config_drive("uid-1", files)
    assert run("blkid", "-p", "-s", "LABEL", "-o", "value", path).strip() == "config-2"
    inode = path.stat().st_ino
    await storage.ensure_config_drive("uid-1", files)
    assert path.stat().st_ino == inode
    await storage.ensure_config_drive("uid-1", files | {"openstack/latest/user_data": b"#!/bin/sh\n"})
    assert path.stat().st_ino != inode


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 100), st.booleans()), max_size=20),
    st.integers(0, 10_000),
    st.integers(0, 5_000),
)
def test_eviction_frees_what_is_needed_from_the_longest_unused_and_no_more(
    images: list[tuple[int, int, bool]], free_bytes: int, needed_bytes: int
) -> None:
    entries = tuple(
        Entry(Path(f"{number}"), size, used_at, is_used) for number, (size, used_at, is_used) in enumerate(images)
    )
    evicted = plan_eviction(entries, Space(10_000, free_bytes), needed_bytes)
    assert not any(entry.is_used for entry in evicted)
    missing = 10_000 * FREE_SHARE + needed_bytes - free_bytes
    kept = [entry for entry in entries if not entry.is_used and entry not in evicted]
    assert not kept or sum(entry.size_bytes for entry in evicted) >= missing
    assert sum(entry.size_bytes for entry in evicted[:-1]) < max(missing, 1)
    assert all(first.last_used <= second.last_used for first in evicted for second in kept)
