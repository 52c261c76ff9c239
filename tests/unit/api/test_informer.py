"""What an informer promises: nothing lost, nothing invented, whatever happens to its watch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from nephos_api.kube.informer import Informer
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.protocol import FieldManager, Kubernetes, Listing, Selection, WatchEvent
from nephos_api.metadata import Key, Resource
from nephos_api.reconcile.queue import Backoff
from nephos_api.resources import Network, Server

SOON = Backoff(first_s=0.001, most_s=0.002)
WITHIN_S = 10
R = TypeVar("R", bound=Resource)
Change = tuple[Network | None, Network | None]


def body(name: str, mtu: int = 1400) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "demo"}, "spec": {"mtu": mtu}}


class Picture:
    """What somebody knows who has nothing but the informer's calls."""

    def __init__(self) -> None:
        self.objects: dict[str, Network] = {}
        self.changes: list[Change] = []

    def __call__(self, old: Network | None, new: Network | None) -> None:
        self.changes.append((old, new))
        name = (new or old).metadata.name  # type: ignore[union-attr]  # why: one of the two is there
        if old is None:
            assert new is not None
            assert name not in self.objects, "an object was new twice"
        else:
            assert self.objects[name].uid == old.uid, "a change of an object that nobody told of"
        if new is None:
            del self.objects[name]
        else:
            self.objects[name] = new


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # why: one turn of the loop, not a time
        await asyncio.sleep(0)


async def turns() -> None:
    """Give all tasks ample occasion to do what they should not."""
    for _ in range(200):
        await asyncio.sleep(0)


def informer_of(kubernetes: Kubernetes, picture: Picture, selection: Selection = Selection()) -> Informer[Network]:  # noqa: B008  # why: frozen
    return Informer(Network, selection, kubernetes, picture, backoff=SOON)


async def test_it_tells_of_additions_changes_and_deletions() -> None:
    kubernetes, picture = MemoryKubernetes(), Picture()
    kubernetes.seed(Network, body("a"))
    informer = informer_of(kubernetes, picture)
    async with running(informer):
        await informer.synced.wait()
        assert [network.metadata.name for network in informer] == ["a"]
        await kubernetes.create(Network, body("b"))
        await until(lambda: "b" in picture.objects)
        await kubernetes.apply(Network, body("b", mtu=1500), FieldManager.OPERATOR)
        await until(lambda: picture.objects["b"].spec.mtu == 1500)
        await kubernetes.delete(Network, "a", "demo")
        await until(lambda: "a" not in picture.objects)
        assert informer.get("a", "demo") is None
        assert informer.get("b", "demo") == picture.objects["b"]


async def test_what_is_told_is_whole_and_what_is_kept_is_what_was_asked_for() -> None:
    kubernetes, picture = MemoryKubernetes(), Picture()
    kubernetes.seed(Network, body("a"))

    def without_mtu(network: Network) -> Network:
        return network.model_copy(update={"spec": network.spec.model_copy(update={"mtu": None})})

    informer = Informer(Network, Selection(), kubernetes, picture, keep=without_mtu, backoff=SOON)
    async with running(informer):
        await informer.synced.wait()
        assert picture.objects["a"].spec.mtu == 1400
        assert [network.spec.mtu for network in informer] == [None]
        await kubernetes.apply(Network, body("a", mtu=1500), FieldManager.OPERATOR)
        await until(lambda: picture.objects["a"].spec.mtu == 1500)
        await kubernetes.delete(Network, "a", "demo")
        await until(lambda: "a" not in picture.objects)


async def test_a_deletion_during_an_expired_watch_is_found_by_the_next_list() -> None:
    kubernetes, picture = MemoryKubernetes(), Picture()
    kept, gone = kubernetes.seed(Network, body("kept")), kubernetes.seed(Network, body("gone"))
    informer = informer_of(kubernetes, picture)
    async with running(informer):
        await informer.synced.wait()
        kubernetes.set_available(False)
        await asyncio.sleep(0)
        kubernetes.set_available(True)
        await kubernetes.delete(Network, "gone", "demo")
        kubernetes.expire()
        await until(lambda: "gone" not in picture.objects)
    assert picture.changes == [(None, kept), (None, gone), (gone, None)]


async def test_nothing_is_told_while_the_server_is_away() -> None:
    kubernetes, picture = MemoryKubernetes(), Picture()
    kubernetes.seed(Network, body("a"))
    informer = informer_of(kubernetes, picture)
    async with running(informer):
        await informer.synced.wait()
        kubernetes.set_available(False)
        await turns()
        assert len(picture.changes) == 1
        assert informer.get("a", "demo") is not None
        resync = asyncio.create_task(informer.resync())
        await turns()
        assert not resync.done()
        kubernetes.set_available(True)
        await resync
        assert len(picture.changes) == 1


async def test_an_object_that_was_replaced_unseen_is_told_as_gone_and_new() -> None:
    kubernetes, picture = _WithoutWatch(), Picture()
    first = kubernetes.seed(Network, body("a"))
    informer = informer_of(kubernetes, picture)
    async with running(informer):
        await informer.synced.wait()
        await kubernetes.delete(Network, "a", "demo")
        second = kubernetes.seed(Network, body("a"))
        await informer.resync()
    assert picture.changes == [(None, first), (first, None), (None, second)]


async def test_what_does_not_fit_its_model_any_more_is_not_gone() -> None:
    kubernetes, picture = _Unreadable(), Picture()
    kubernetes.seed(Network, body("a"))
    informer = informer_of(kubernetes, picture)
    async with running(informer):
        await informer.synced.wait()
        kubernetes.hidden = True
        await informer.resync()
        assert informer.get("a", "demo") is not None
        assert len(picture.changes) == 1


async def test_an_object_that_leaves_the_selection_is_gone() -> None:
    kubernetes = MemoryKubernetes()
    names: list[tuple[bool, bool]] = []
    informer = Informer(
        Server,
        Selection(field_selector="status.host=h1"),
        kubernetes,
        lambda old, new: names.append((old is not None, new is not None)),
        backoff=SOON,
    )
    spec = {"flavor": "tiny", "image": "tiny"}
    server = kubernetes.seed(Server, {"metadata": {"name": "one", "namespace": "demo"}, "spec": spec})
    async with running(informer):
        await informer.synced.wait()
        assert len(informer) == 0
        server = await kubernetes.apply_status(server, {"host": "h1"}, FieldManager.OPERATOR)
        await until(lambda: len(informer) == 1)
        await kubernetes.apply_status(server, {"host": "h2"}, FieldManager.OPERATOR)
        await until(lambda: len(informer) == 0)
    assert names == [(False, True), (True, False)]


async def test_a_server_that_ends_every_watch_at_once_is_not_called_in_a_busy_loop() -> None:
    kubernetes = _WithoutWatch(ends=True)
    informer = Informer(Network, Selection(), kubernetes, Picture(), backoff=Backoff(first_s=3600, most_s=3600))
    async with running(informer):
        await informer.synced.wait()
        for _ in range(100):
            await asyncio.sleep(0)
    assert kubernetes.watches == 1


NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), NAMES, st.integers(1400, 1403)),
        st.tuples(st.just("delete"), NAMES, st.just(0)),
        st.tuples(st.sampled_from(["away", "back", "expire", "end", "turn", "resync"]), st.just(""), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
async def test_in_the_end_the_picture_is_the_truth(steps: list[tuple[str, str, int]]) -> None:
    kubernetes, picture = MemoryKubernetes(), Picture()
    informer = informer_of(kubernetes, picture)
    resyncs = []
    async with running(informer):
        for step, name, mtu in steps:
            match step:
                case "away" | "back":
                    kubernetes.set_available(step == "back")
                case "expire":
                    kubernetes.expire()
                case "end":
                    kubernetes.end_watches()
                case "resync":
                    resyncs.append(asyncio.create_task(informer.resync()))
                case "turn":
                    for _ in range(3):
                        await asyncio.sleep(0)
                case _:
                    await _write(kubernetes, step, name, mtu)
        kubernetes.set_available(True)
        await asyncio.gather(*resyncs)
        listing = await kubernetes.list(Network)
        truth = {network.metadata.name: network for network in listing.items}
        await until(lambda: picture.objects == truth)
        assert {network.metadata.name: network for network in informer} == truth


async def _write(kubernetes: MemoryKubernetes, step: str, name: str, mtu: int) -> None:
    """Write as somebody else does whom our connection's troubles don't touch."""
    away = kubernetes._store.unavailable
    kubernetes._store.unavailable = False
    if step == "apply":
        await kubernetes.apply(Network, body(name, mtu), FieldManager.OPERATOR)
    elif found := await kubernetes.get(Network, name, "demo"):
        await kubernetes.delete(Network, name, "demo")
        found = await kubernetes.get(Network, name, "demo")
        if found:
            await kubernetes.set_finalizers(found, ())
    kubernetes._store.unavailable = away


class _WithoutWatch(MemoryKubernetes):
    """A server whose watches show nothing."""

    def __init__(self, *, ends: bool = False) -> None:
        super().__init__()
        self._ends = ends
        self.watches = 0

    async def watch(self, kind: type[R], selection: Selection, resource_version: str) -> AsyncIterator[WatchEvent[R]]:
        self.watches += 1
        if not self._ends:
            await asyncio.Event().wait()
        nothing: tuple[WatchEvent[R], ...] = ()
        for event in nothing:
            yield event


class _Unreadable(MemoryKubernetes):
    """A server of a newer version, whose objects don't fit our models."""

    hidden = False

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:  # noqa: B008  # why: frozen
        listing = await super().list(kind, selection)
        if not self.hidden:
            return listing
        return Listing((), listing.resource_version, frozenset(item.key for item in listing.items))


def test_a_key_names_its_object_as_logs_do() -> None:
    assert str(Key("Network", "demo", "a")) == "Network demo/a"
    assert str(Key("Host", None, "h1")) == "Host h1"
