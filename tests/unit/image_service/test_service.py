"""The whole service over the twin of the API: what becomes of Images, through failures and restarts."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nephos_api import conditions, pki
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.reconcile.queue import WorkQueue
from nephos_api.resources.image import Image
from nephos_operator.image_service import statuses
from nephos_operator.image_service.addresses import AddressPolicy, parse_networks
from nephos_operator.image_service.fetch import Limits
from nephos_operator.image_service.inspection import Inspector
from nephos_operator.image_service.startup import Options, Process, first_ends
from nephos_operator.image_service.store import Store
from nephos_operator.image_service.tls import TlsFiles

NAMESPACE = "demo"
RAW = b"\x33\xc0" + bytes(range(1, 256)) * 16_000


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    folder = tmp_path_factory.mktemp("pki")
    authority = pki.create_authority("cloud", now=datetime.now(UTC))
    issued = pki.issue(authority, common_name="image-service", dns_names=("localhost",), now=datetime.now(UTC))
    files = TlsFiles(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
    files.ca.write_bytes(authority.certificate_pem)
    files.certificate.write_bytes(issued.certificate_pem)
    files.key.write_bytes(issued.key_pem)
    return files


@dataclass
class World:
    """An API, a store, and the service that may run on them."""

    kubernetes: MemoryKubernetes
    options: Options
    processes: list[Process] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.options.store

    async def image(self, name: str = "tiny") -> Image | None:
        return await self.kubernetes.get(Image, name, NAMESPACE)

    async def create(self, url: str, name: str = "tiny", *, sha256: str | None = None, declared: str = "raw") -> Image:
        source = {"url": url} | ({"sha256": sha256} if sha256 else {})
        return await self.kubernetes.create(
            Image,
            {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"source": source, "format": declared}},
        )

    async def until(self, condition: Callable[[Image], bool], name: str = "tiny") -> Image:
        return await self.wait(lambda image: image is not None and condition(image), name)  # type: ignore[return-value]  # why: the condition holds for an Image only

    async def until_gone(self, name: str = "tiny") -> None:
        await self.wait(lambda image: image is None, name)

    async def wait(self, condition: Callable[[Image | None], bool], name: str) -> Image | None:
        async with asyncio.timeout(20):
            while not condition(image := await self.image(name)):  # noqa: ASYNC110  # why: a user looks again, too
                await asyncio.sleep(0.01)
        return image

    @asynccontextmanager
    async def running(self, identity: str = "one") -> AsyncIterator[Process]:
        process = Process(replace(self.options, identity=identity), self.kubernetes, Inspector(namespaces=True))
        self.processes.append(process)
        task = asyncio.create_task(first_ends(process.parts()))
        try:
            yield process
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def world(tmp_path: Path, tls: TlsFiles) -> World:
    options = Options(
        identity="one",
        kubeconfig=None,
        store=Store(tmp_path / "store"),
        file_root=tmp_path / "files",
        listen=("127.0.0.1", 0),
        tls=tls,
        policy=AddressPolicy(allowed=parse_networks("127.0.0.1/32")),
        limits=Limits(size_bytes=1 << 30),
        metrics_listen=("127.0.0.1", 0),
    )
    options.store.prepare()
    return World(MemoryKubernetes(), options)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # why: files and metrics tell nobody
            await asyncio.sleep(0.01)


def overlay_of_a_file_of_the_machine(folder: Path) -> bytes:
    create = ("qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "-u")
    subprocess.run([*create, folder / "overlay", "1M"], check=True)
    return (folder / "overlay").read_bytes()


def phase_is(phase: str) -> Callable[[Image], bool]:
    return lambda image: image.status.phase == phase


def stalled_reason(image: Image) -> str:
    found = conditions.find(image.status.conditions, "Stalled")
    return found.reason if found else ""


def ready_reason(image: Image) -> str:
    found = conditions.find(image.status.conditions, "Ready")
    return found.reason if found else ""


def is_clean(store: Store) -> bool:
    return not store.partial_uids()


async def test_an_image_becomes_active_with_few_writes(
    world: World, web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "_LEAST_S", 3600.0)  # a disk that stalls is no more progress
    web_server.content = RAW
    async with world.running():
        await world.create(web_server.url())
        image = await world.until(phase_is("Active"))
    assert image.status.sha256 == sha256_of(RAW)
    assert (image.status.size_bytes, image.status.virtual_size_bytes) == (len(RAW), -(-len(RAW) // 512) * 512)
    assert image.status.observed_generation == image.metadata.generation
    assert world.store.path(sha256_of(RAW)).read_bytes() == RAW
    assert is_clean(world.store)
    assert len([write for write in world.kubernetes.writes if write.address.plural == "images"]) <= 5


async def test_an_import_that_a_failing_disk_ended_begins_anew(
    world: World, web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    web_server.content = RAW
    publish, failures = Store.publish, iter([OSError(errno.EIO, "Input/output error")])

    def publish_or_fail(store: Store, uid: str, sha256: str) -> None:
        if error := next(failures, None):
            raise error
        publish(store, uid, sha256)

    monkeypatch.setattr(Store, "publish", publish_or_fail)
    async with world.running():
        await world.create(web_server.url())
        await world.until(phase_is("Active"))


async def test_an_image_at_rest_costs_nothing_after_a_restart(world: World, web_server: Any) -> None:
    async with world.running():
        await world.create(web_server.url())
        await world.until(phase_is("Active"))
    before = [write for write in world.kubernetes.writes if write.address.plural == "images"]
    async with world.running() as process:
        await process._images.synced.wait()
        await eventually(lambda: process._queue is not None and process._queue.is_idle)
        await process._reconciler.sweep()
        await eventually(lambda: process._queue is not None and process._queue.is_idle)
    assert [write for write in world.kubernetes.writes if write.address.plural == "images"] == before
    assert len(web_server.requests) == 1


@pytest.mark.parametrize(
    ("content", "declared", "sha256", "status", "reason"),
    [
        (RAW, "raw", "0" * 64, None, "ChecksumMismatch"),
        (RAW, "qcow2", None, None, "FormatMismatch"),
        (RAW, "raw", None, 404, "SourceGone"),
        (RAW, "raw", None, 410, "SourceGone"),
        (RAW, "raw", None, 403, "SourceForbidden"),
    ],
)
async def test_what_can_not_become_active_is_killed_with_its_reason_and_leaves_no_file(
    world: World, web_server: Any, content: bytes, declared: str, sha256: str | None, status: int | None, reason: str
) -> None:
    web_server.content, web_server.status = content, status
    async with world.running():
        await world.create(web_server.url(), declared=declared, sha256=sha256)
        image = await world.until(phase_is("Killed"))
    assert stalled_reason(image) == reason
    assert is_clean(world.store)
    assert world.store.hashes() == frozenset()
    assert len(web_server.requests) == 1


async def test_an_image_with_a_backing_file_is_killed(world: World, web_server: Any, tmp_path: Path) -> None:
    web_server.content = overlay_of_a_file_of_the_machine(tmp_path)
    async with world.running():
        await world.create(web_server.url(), declared="qcow2")
        image = await world.until(phase_is("Killed"))
    assert stalled_reason(image) == "OutsideReference"


async def test_a_forbidden_address_and_a_foreign_file_are_refused(world: World, web_server: Any) -> None:
    async with world.running():
        await world.create("http://169.254.169.254/latest", "address")
        await world.create("file:///etc/passwd", "file")
        assert stalled_reason(await world.until(phase_is("Killed"), "address")) == "ForbiddenAddress"
        assert stalled_reason(await world.until(phase_is("Killed"), "file")) == "ForbiddenSource"


async def test_a_server_that_fails_is_tried_again_until_it_delivers(
    world: World, web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "RETRY_FIRST_S", 0.01)
    web_server.status = 503
    async with world.running():
        await world.create(web_server.url())
        image = await world.until(lambda image: ready_reason(image) == "SourceUnavailable")
        assert image.status.phase == "Importing"
        assert conditions.is_true(image.status.conditions, "Reconciling")
        web_server.status = None
        await world.until(phase_is("Active"))


async def test_a_source_that_keeps_failing_is_asked_less_and_less(
    world: World, web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "RETRY_FIRST_S", 0.01)
    delays: list[float] = []
    add_after = WorkQueue.add_after

    def note(queue: WorkQueue[Any], key: Any, delay_s: float) -> None:
        delays.append(delay_s)
        add_after(queue, key, delay_s)

    monkeypatch.setattr(WorkQueue, "add_after", note)
    web_server.status = 503
    async with world.running():
        await world.create(web_server.url())
        await eventually(lambda: len(web_server.requests) >= 4)
    assert delays[:3] == [0.01, 0.02, 0.04]


async def test_a_restart_in_the_middle_goes_on_where_it_was(world: World, web_server: Any) -> None:
    web_server.hold_after = 2 << 20
    async with world.running():
        image = await world.create(web_server.url(), sha256=sha256_of(web_server.content))
        await web_server.held.wait()
        await world.until(phase_is("Importing"))
        await eventually(lambda: world.store.partial_path(image.uid).stat().st_size >= 2 << 20)
    web_server.hold_after = None
    async with world.running():
        await world.until(phase_is("Active"))
    assert web_server.requests == ["", f"bytes={2 << 20}-"]


async def test_a_second_replica_takes_over_and_only_one_fetches(world: World, web_server: Any) -> None:
    web_server.hold_after = 2 << 20
    async with world.running("one") as first:
        await world.create(web_server.url())
        await web_server.held.wait()
        async with world.running("two") as second:
            await eventually(lambda: second._election._seen is not None)
            assert (first._election.is_leader, second._election.is_leader) == (True, False)
            assert len(web_server.requests) == 1
    web_server.hold_after = None
    async with world.running("two"):
        await world.until(phase_is("Active"))


async def test_images_of_one_content_share_a_file_that_goes_with_the_last(world: World, web_server: Any) -> None:
    sha256 = sha256_of(web_server.content)
    async with world.running():
        for name in ("a", "b"):
            await world.create(web_server.url(), name)
            await world.until(phase_is("Active"), name)
        assert len(web_server.requests) == 2  # knowing a hash is no right to the content: each source is asked
        await world.kubernetes.delete(Image, "a", NAMESPACE)
        await world.until_gone("a")
        assert world.store.has(sha256)
        await world.kubernetes.delete(Image, "b", NAMESPACE)
        await world.until_gone("b")
        assert not world.store.has(sha256)


async def test_an_image_that_is_deleted_while_it_is_fetched_leaves_nothing(world: World, web_server: Any) -> None:
    web_server.hold_after = 1 << 20
    async with world.running():
        await world.create(web_server.url())
        await web_server.held.wait()
        await world.kubernetes.delete(Image, "tiny", NAMESPACE)
        await world.until_gone()
    assert is_clean(world.store)
    assert world.store.hashes() == frozenset()


async def test_an_image_made_anew_under_its_name_is_fetched_anew(world: World, web_server: Any) -> None:
    async with world.running():
        first = await world.create(web_server.url())
        await world.until(phase_is("Active"))
        await world.kubernetes.delete(Image, "tiny", NAMESPACE)
        await world.until_gone()
        second = await world.create(web_server.url())
        await world.until(phase_is("Active"))
    assert first.uid != second.uid
    assert len(web_server.requests) == 2


async def test_content_that_the_store_lost_is_fetched_again(world: World, web_server: Any) -> None:
    async with world.running():
        await world.create(web_server.url())
        await world.until(phase_is("Active"))
    world.store.remove(sha256_of(web_server.content))
    async with world.running():
        await eventually(lambda: world.store.has(sha256_of(web_server.content)))
        await world.until(phase_is("Active"))


async def test_half_files_of_images_that_are_gone_are_removed(world: World) -> None:
    world.store.partial_path("gone").write_bytes(b"half")
    world.store.note_path("gone").write_text("{}")
    async with world.running():
        await eventually(lambda: is_clean(world.store))


async def test_an_api_server_that_is_away_at_the_end_of_a_fetch_does_not_cost_a_second_one(
    world: World, web_server: Any
) -> None:
    web_server.hold_after = 1 << 20
    async with world.running():
        await world.create(web_server.url())
        await web_server.held.wait()
        world.kubernetes.set_available(False)
        web_server.released.set()
        await eventually(lambda: world.store.has(sha256_of(web_server.content)))
        world.kubernetes.set_available(True)
        await world.until(phase_is("Active"))
    assert len(web_server.requests) == 1


async def test_metrics_tell_of_bytes_and_phases(world: World, web_server: Any) -> None:
    async with world.running() as process:
        await world.create(web_server.url())
        await world.until(phase_is("Active"))
        value = process._metrics.registry.get_sample_value
        await eventually(lambda: value("nephos_images", {"phase": "Active"}) == 1)
    assert value("nephos_image_fetched_bytes_total") == len(web_server.content)
    assert value("nephos_image_import_duration_seconds_count", {"result": "Active"}) == 1
