"""What answers of an API server mean, and credentials that are renewed while we run."""

import subprocess
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from nephos_api.errors import ApiUnavailable, Conflict, Expired, NephosError, Refused
from nephos_api.kube.client import connect
from nephos_api.kube.protocol import EventType, Selection
from nephos_api.kube.transport import fault
from nephos_api.resources import Network

NETWORKS = "/apis/nephos.cloud/v1alpha1/networks"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, Refused),
        (401, ApiUnavailable),
        (403, Refused),
        (404, Refused),
        (405, Refused),
        (408, ApiUnavailable),
        (409, Conflict),
        (410, Expired),
        (422, Refused),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
        (504, ApiUnavailable),
    ],
)
def test_each_code_is_an_error_of_the_tree_with_the_server_s_sentence(code: int, kind: type[NephosError]) -> None:
    found = fault(code, {"message": "because", "reason": "Whatever"})
    assert type(found) is kind
    assert str(found) == "because"


def test_a_refusal_names_its_cause_for_programs() -> None:
    status = {"message": "no", "reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    found = fault(403, status)
    assert isinstance(found, Refused)
    assert (found.code, found.reason) == (403, "NamespaceTerminating")
    assert isinstance(other := fault(422, {"message": "no", "reason": "Invalid"}), Refused)
    assert other.reason == "Invalid"


class FakeServer:
    """Takes one token, and answers lists and watches as scripted."""

    def __init__(self) -> None:
        self.token = "first"
        self.lines: list[str] = []
        self.tokens_seen: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.tokens_seen.append(token)
        if token != self.token:
            return web.json_response({"kind": "Status", "message": "Unauthorized", "code": 401}, status=401)
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self.lines:
            await response.write(line.encode())
        await response.write_eof()
        return response


@pytest.fixture
async def server() -> AsyncIterator[tuple[FakeServer, str]]:
    fake = FakeServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.handle)
    async with TestServer(application) as running:
        yield fake, str(running.make_url("")).rstrip("/")


def write_kubeconfig(path: Path, url: str, token: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_a_token_that_was_renewed_in_its_file_is_taken_up(server: tuple[FakeServer, str], tmp_path: Path) -> None:
    fake, url = server
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url, "first")
    async with connect(kubeconfig) as kubernetes:
        await kubernetes.list(Network)
        fake.token = "second"
        with pytest.raises(ApiUnavailable, match="Unauthorized"):
            await kubernetes.list(Network)
        write_kubeconfig(kubeconfig, url, "second")
        await kubernetes.list(Network)
    assert fake.tokens_seen == ["first", "first", "first", "first", "second"]


async def test_a_connection_sets_little_memory_aside(server: tuple[FakeServer, str], tmp_path: Path) -> None:
    _, url = server
    async with connect(write_kubeconfig(tmp_path / "kubeconfig", url, "first")) as kubernetes:
        await kubernetes.list(Network)
    assert SSLProtocol.max_size == 32 * 1024


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", "first")
    async with connect(kubeconfig) as kubernetes:
        with pytest.raises(ApiUnavailable, match="Cannot connect"):
            await kubernetes.list(Network)


async def test_without_credentials_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Refused, match="no credentials"):
        async with connect():
            pass


WATCHED = """{"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "8"}, "spec": {}}}
{"type": "ADDED", "object": {"metadata": {"name": "b", "resourceVersion": "9"}, "spec": {"mtu": "x"}}}
{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "10"}}}
"""


async def test_a_watch_goes_on_behind_an_object_that_does_not_fit(
    server: tuple[FakeServer, str], tmp_path: Path
) -> None:
    fake, url = server
    fake.lines = [WATCHED]
    async with connect(write_kubeconfig(tmp_path / "kubeconfig", url, "first")) as kubernetes:
        seen = [event async for event in kubernetes.watch(Network, Selection(), "7")]
    assert [(event.type, event.resource_version) for event in seen] == [
        (EventType.ADDED, "8"),
        (EventType.BOOKMARK, "9"),
        (EventType.BOOKMARK, "10"),
    ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"type": "ERROR", "object": {"code": 410, "message": "too old"}}\n', Expired),
        ('{"type": "ERROR", "object": {"code": 500, "message": "broken"}}\n', ApiUnavailable),
        ('{"type": "ADD', ApiUnavailable),
    ],
)
async def test_a_watch_that_breaks_says_how(
    server: tuple[FakeServer, str], tmp_path: Path, line: str, error: type[NephosError]
) -> None:
    fake, url = server
    fake.lines = [line]
    async with connect(write_kubeconfig(tmp_path / "kubeconfig", url, "first")) as kubernetes:
        with pytest.raises(error):
            [event async for event in kubernetes.watch(Network, Selection(), "7")]


def test_a_process_that_talks_to_the_api_carries_no_second_client() -> None:
    loaded = "import sys, nephos_api.kube.client; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    assert "kubernetes.aio.client.rest" in modules
    assert not {"kubernetes.client", "requests", "oauthlib"}.intersection(modules)
