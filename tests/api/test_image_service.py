"""The image service as a process, with its own account's rights, killed at the worst moment."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nephos_dev import credentials
from nephos_dev.cloud import Cloud
from nephos_dev.install import install_component
from nephos_dev.waiting import NotYet, wait_for

from .conftest import Api, manifest

CONTENT = bytes(range(256)) * (32 << 10)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Origin(ThreadingHTTPServer):
    """A web server with one image, which stops in the middle of it until it is told to go on."""

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), Handler)
        self.address = address
        self.goes_on = threading.Event()
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.server_port}/image"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of this server."""


class Handler(BaseHTTPRequestHandler):
    """Answers with ranges."""

    server: Origin

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        if start < HALF:
            self.wfile.write(CONTENT[start:HALF])
            self.wfile.flush()
            self.server.goes_on.wait(60)
        self.wfile.write(CONTENT[max(start, HALF) :])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # why: the base class calls it so
        """Say nothing."""


@pytest.fixture
def origin(cloud: Cloud) -> Iterator[Origin]:
    with Origin(str(cloud.layout.gateway)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        thread.join()


@contextmanager
def service(cloud: Cloud, store: Path) -> Iterator[subprocess.Popen[bytes]]:
    layout = cloud.layout
    credentials.ensure_cloud(layout)
    install_component(cloud.cluster, layout, "nephos-image-service")
    environment = os.environ | {
        "KUBECONFIG": str(layout.kubeconfigs / "nephos-image-service"),
        "NEPHOS_REPLICA_NAME": "one",
        "NEPHOS_IMAGE_ALLOW_CIDRS": str(layout.gateway),
        "NEPHOS_IMAGE_LISTEN": "127.0.0.1:0",
        "NEPHOS_METRICS_PORT": "0",
        "NEPHOS_IMAGE_STORE_DIR": str(store),
        "NEPHOS_TLS_CA": str(layout.pki / "ca.crt"),
        "NEPHOS_TLS_CERT": str(layout.pki / "image-service.crt"),
        "NEPHOS_TLS_KEY": str(layout.pki / "image-service.key"),
    }
    command = Path(sys.executable).with_name("nephos-image-service")
    with subprocess.Popen([command], env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def until(api: Api, body: dict[str, Any], phase: str) -> dict[str, Any]:
    def probe() -> dict[str, Any]:
        status: dict[str, Any] = api.get(body).accepted().get("status", {})
        if status.get("phase") != phase:
            raise NotYet(str(status))
        return status

    return wait_for(probe, what=f"phase {phase}", timeout_s=60)


def test_a_kill_in_the_middle_of_a_fetch_costs_only_time(
    cloud: Cloud, api: Api, origin: Origin, tmp_path: Path
) -> None:
    body = manifest("Image", {"source": {"url": origin.url, "sha256": SHA256}, "format": "raw"})
    with service(cloud, tmp_path) as process:
        uid = api.create(body).accepted()["metadata"]["uid"]
        until(api, body, "Importing")

        def half_is_there() -> None:
            path = tmp_path / "partial" / uid
            if not path.exists() or path.stat().st_size < HALF:
                raise NotYet("less than half is fetched")

        wait_for(half_is_there, what="half of the image", timeout_s=60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    origin.goes_on.set()
    with service(cloud, tmp_path):
        status = until(api, body, "Active")
        assert (status["sha256"], status["sizeBytes"], status["format"]) == (SHA256, len(CONTENT), "raw")
        assert (tmp_path / SHA256).read_bytes() == CONTENT
        assert origin.ranges == [None, f"bytes={HALF}-"]
        assert list((tmp_path / "partial").iterdir()) == []

        api.delete(body).accepted()

        def is_gone() -> None:
            if api.get(body).code != 404 or (tmp_path / SHA256).exists():
                raise NotYet("the image is still there")

        wait_for(is_gone, what="the end of the image", timeout_s=60)
