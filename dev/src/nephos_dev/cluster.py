"""The cluster as its admin sees it: kubectl for manifests, plain calls for the rest."""

import json
import subprocess
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pykube

from nephos_dev.progress import FailureError

FIELD_MANAGER = "nephos-dev"
_TOKEN_SECONDS = 365 * 24 * 3600


class Cluster:
    """One API server, with the admin's credentials."""

    def __init__(self, kubeconfig: Path, kubectl: Path) -> None:
        self.kubeconfig = kubeconfig
        self._kubectl = kubectl

    def client(self, *, timeout_s: float = 10) -> pykube.HTTPClient:
        """Return a new client with the admin's credentials."""
        return pykube.HTTPClient(pykube.KubeConfig.from_file(str(self.kubeconfig)), timeout=timeout_s)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed. Raises FailureError with what it said if it fails."""
        done = self.try_kubectl(*arguments, stdin=stdin)
        if done.returncode:
            raise FailureError(done.stderr.strip() or f"kubectl {arguments[0]} ended with status {done.returncode}")
        return done.stdout

    def try_kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return how it ended."""
        command = [str(self._kubectl), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    def apply(self, *paths: Path) -> None:
        """Apply manifest files by server-side apply."""
        files = [f"--filename={path}" for path in paths]
        self.kubectl("apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", *files)

    def apply_objects(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects by server-side apply."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            f"--field-manager={FIELD_MANAGER}",
            "--filename=-",
            stdin=document,
        )

    def ready(self) -> bool:
        """Return whether the API server says that it is ready."""
        client = self.client(timeout_s=2)
        with client.session:
            try:
                return bool(client.session.get(f"{client.url}/readyz", timeout=2).status_code == HTTPStatus.OK)
            except OSError:
                return False

    def request_token(self, namespace: str, account: str, *, node: str | None = None) -> str:
        """Return a new token of a ServiceAccount, valid for a year, bound to a Node if one is named."""
        spec: dict[str, Any] = {"expirationSeconds": _TOKEN_SECONDS}
        if node:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Node", "name": node}
        client = self.client()
        with client.session:
            response = client.post(
                url=f"serviceaccounts/{account}/token",
                namespace=namespace,
                json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            )
            client.raise_for_status(response)
            return str(response.json()["status"]["token"])
