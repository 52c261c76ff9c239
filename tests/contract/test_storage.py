"""What every storage driver does: one suite over the files of a host and the twin in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nephos_agent.storage.local import LocalStorage
from nephos_agent.storage.memory import MemoryStorage
from nephos_agent.storage.protocol import StorageDriver
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.image import ImageFormat
from nephos_api.resources.server import ServerImage

GIB = 1 << 30
WEEK_S = 7 * 24 * 3600.0
CONTENT = b"a raw disk" * 50_000


def image_of(content: bytes, *, virtual_size_bytes: int | None = None) -> ServerImage:
    return ServerImage(
        name="tiny",
        namespace="nephos-catalog",
        uid="image-uid",
        sha256=hashlib.sha256(content).hexdigest(),
        format=ImageFormat.RAW,
        size_bytes=len(content),
        virtual_size_bytes=virtual_size_bytes or len(content),
    )


@dataclass
class DictionarySource:
    """An image service that is a dictionary."""

    contents: dict[str, bytes]

    async def read(self, sha256: str, offset: int) -> AsyncGenerator[bytes, None]:
        if sha256 not in self.contents:
            raise TemporaryFault("not there", reason="ImageNotInStore")
        content = self.contents[sha256]
        for start in range(offset, len(content), 65_536):
            await asyncio.sleep(0)
            yield content[start : start + 65_536]


@dataclass
class World:
    """A driver, what the image service has, and the time."""

    driver: StorageDriver
    contents: dict[str, bytes]
    clock: list[float] = field(default_factory=lambda: [1_000_000.0])


def memory(_folder: Path, contents: dict[str, bytes], now: Callable[[], float]) -> StorageDriver:
    return MemoryStorage(contents=contents, now=now)


def local(folder: Path, contents: dict[str, bytes], now: Callable[[], float]) -> StorageDriver:
    return LocalStorage(folder, "cloud-1", DictionarySource(contents), now=now)


@pytest.fixture(params=[memory, local], ids=["memory", "local"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    contents = {image_of(CONTENT).sha256: CONTENT}
    clock = [1_000_000.0]
    driver = request.param(tmp_path, contents, lambda: clock[0])
    await driver.start()
    return World(driver, contents, clock)


def ignore(_percent: int) -> None:
    pass


async def make(world: World, uid: str = "uid-1", size_gib: int = 2) -> Path:
    return await world.driver.ensure_disk(uid, "demo", "web", image_of(CONTENT), size_gib)


async def test_an_image_is_fetched_and_its_progress_ends_at_100(world: World) -> None:
    heard: list[int] = []
    first = await world.driver.ensure_base(image_of(CONTENT), heard.append)
    assert heard
    assert heard[-1] == 100
    assert heard == sorted(set(heard))
    world.contents.clear()
    assert await world.driver.ensure_base(image_of(CONTENT), ignore) == first


async def test_an_image_that_the_service_lacks_is_worth_another_try(world: World) -> None:
    with pytest.raises(TemporaryFault) as raised:
        await world.driver.ensure_base(image_of(b"elsewhere"), ignore)
    assert raised.value.reason == "ImageNotInStore"
    world.contents[image_of(b"elsewhere").sha256] = b"elsewhere"
    await world.driver.ensure_base(image_of(b"elsewhere"), ignore)


async def test_content_that_is_not_what_its_hash_says_is_refused(world: World) -> None:
    world.contents[image_of(b"good").sha256] = b"evil"
    with pytest.raises(PermanentFault) as raised:
        await world.driver.ensure_base(image_of(b"good"), ignore)
    assert raised.value.reason == "ChecksumMismatch"


async def test_a_disk_is_made_once_and_listed_with_its_mark(world: World) -> None:
    path = await make(world)
    assert await make(world) == path
    (disk,) = await world.driver.disks()
    assert (disk.server_uid, disk.namespace, disk.server_name) == ("uid-1", "demo", "web")
    assert (disk.path, disk.size_gib) == (path, 2)


async def test_a_disk_is_never_smaller_than_its_image(world: World) -> None:
    with pytest.raises(PermanentFault) as raised:
        await world.driver.ensure_disk("uid-1", "demo", "web", image_of(CONTENT, virtual_size_bytes=3 * GIB), 2)
    assert raised.value.reason == "DiskTooSmall"
    assert "3 GiB" in raised.value.message
    assert await world.driver.disks() == ()


async def test_many_disks_on_one_image_are_made_at_once(world: World) -> None:
    await asyncio.gather(*(make(world, f"uid-{number}") for number in range(8)))
    assert len(await world.driver.disks()) == 8


async def test_deleting_may_be_repeated(world: World) -> None:
    await make(world)
    await world.driver.ensure_config_drive("uid-1", {"openstack/latest/meta_data.json": b"{}"})
    await world.driver.delete("uid-1")
    await world.driver.delete("uid-1")
    assert await world.driver.disks() == ()


async def test_a_trashed_disk_comes_back_if_it_is_missed_within_a_week(world: World) -> None:
    path = await make(world, size_gib=2)
    await world.driver.trash("uid-1")
    await world.driver.trash("uid-1")
    assert await world.driver.disks() == ()
    world.clock[0] += WEEK_S - 60
    await world.driver.sweep()
    assert await make(world, size_gib=5) == path
    (disk,) = await world.driver.disks()
    assert disk.size_gib == 2


async def test_a_trashed_disk_is_gone_after_a_week(world: World) -> None:
    await make(world, size_gib=2)
    await world.driver.trash("uid-1")
    world.clock[0] += WEEK_S + 60
    await world.driver.sweep()
    await make(world, size_gib=5)
    (disk,) = await world.driver.disks()
    assert disk.size_gib == 5


async def test_a_deletion_that_is_seen_reaches_the_trash(world: World) -> None:
    await make(world, size_gib=2)
    await world.driver.trash("uid-1")
    await world.driver.delete("uid-1")
    await make(world, size_gib=5)
    (disk,) = await world.driver.disks()
    assert disk.size_gib == 5


async def test_a_config_drive_can_come_before_the_disk(world: World) -> None:
    first = await world.driver.ensure_config_drive("uid-1", {"openstack/latest/user_data": b"#!/bin/sh"})
    assert await world.driver.ensure_config_drive("uid-1", {"openstack/latest/user_data": b"#!/bin/sh"}) == first
    assert await world.driver.disks() == ()
    await make(world)
    assert [disk.server_uid for disk in await world.driver.disks()] == ["uid-1"]


async def test_a_restart_of_the_driver_keeps_disks(world: World) -> None:
    await make(world)
    await world.driver.start()
    assert [disk.server_uid for disk in await world.driver.disks()] == ["uid-1"]


async def test_capacity_is_that_of_a_file_system(world: World) -> None:
    assert await world.driver.capacity_gib() > 0
