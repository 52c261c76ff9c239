"""A project of a local cloud, as its user works with it: apply, wait, look, delete."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nephos_dev.cluster import Cluster
from nephos_dev.progress import FailureError
from nephos_dev.waiting import NotYet, passing, wait_for

Manifest = Mapping[str, Any]
_API_VERSION = "nephos.cloud/v1alpha1"
_ACTIVE_TIMEOUT_S = 60.0
_GONE_TIMEOUT_S = 60.0
_HEARD_TIMEOUT_S = 15.0


def manifest(kind: str, name: str, **spec: Any) -> Manifest:
    """Return an object of that kind."""
    return {"apiVersion": _API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def server_manifest(name: str, network: str, **spec: Any) -> Manifest:
    """Return a Server of flavor and image `tiny` with one NIC; `spec` overrides and adds fields."""
    return manifest("Server", name, **{"flavor": "tiny", "image": "tiny", "networks": [{"network": network}], **spec})


def network_manifests(name: str, cidr: str, **subnet: Any) -> tuple[Manifest, Manifest]:
    """Return a Network and its one Subnet."""
    return manifest("Network", name), manifest("Subnet", f"{name}-v4", network=name, cidr=cidr, **subnet)


@dataclass(frozen=True)
class Tenant:
    """A Project and its namespace. Wait functions raise FailureError with what was seen last."""

    cluster: Cluster
    name: str

    def create(self, **quota: int) -> None:
        """Make the Project and wait until its namespace is there."""
        self.cluster.apply_objects(
            {"apiVersion": _API_VERSION, "kind": "Project", "metadata": {"name": self.name}, "spec": {"quota": quota}}
        )
        wait_for(self._project_ready, what=f"Project {self.name}", timeout_s=30)

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests in the project's namespace. Raises FailureError with the API server's sentence."""
        self.cluster.apply_objects(*map(self._placed, manifests))

    def apply_once_heard(self, *manifests: Manifest) -> None:
        """Apply what admission refuses until the replica that answers has heard of a change made just before."""

        def probe() -> None:
            with passing(FailureError):
                self.apply(*manifests)

        wait_for(probe, what="the manifests are admitted", timeout_s=_HEARD_TIMEOUT_S)

    def expect_refused(self, sentence: str, refused: Manifest) -> None:
        """Ask, keeping nothing, until admission refuses the manifest with what `sentence`, a pattern, matches.

        A webhook that is late lets a request pass, and judges by what its replica has heard of.
        """
        document = json.dumps(self._placed(refused))

        def probe() -> None:
            tried = self.cluster.try_kubectl(
                *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-"), stdin=document
            )
            if not tried.returncode or not re.search(sentence, tried.stderr):
                raise NotYet(tried.stderr.strip() or "it is accepted")

        wait_for(probe, what=f"refusal with {sentence!r}", timeout_s=_HEARD_TIMEOUT_S)

    def _placed(self, manifest: Manifest) -> Manifest:
        return {**manifest, "metadata": {**manifest["metadata"], "namespace": self.name}}

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object of the project's namespace, or None. Raises FailureError while the API server is away."""
        found = self.cluster.kubectl(
            "get", kind, name, f"--namespace={self.name}", "--ignore-not-found", "--output=json"
        )
        if not found:
            return None
        document: dict[str, Any] = json.loads(found)
        return document

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind in the project's namespace."""
        items: list[dict[str, Any]] = json.loads(
            self.cluster.kubectl("get", kind, f"--namespace={self.name}", "--output=json")
        )["items"]
        return items

    def patch_spec(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        """Merge fields into an object's spec."""
        document = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", kind, name, f"--namespace={self.name}", "--type=merge", f"--patch={document}")

    def delete(self, kind: str, *names: str, wait: bool = True) -> None:
        """Delete objects, and unless told otherwise wait until they are gone."""
        self.cluster.kubectl(
            "delete",
            kind,
            *names,
            f"--namespace={self.name}",
            f"--wait={str(wait).lower()}",
            f"--timeout={_GONE_TIMEOUT_S}s",
        )

    def wait_phase(
        self, name: str, phase: str, *, kind: str = "server", timeout_s: float = _ACTIVE_TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait until an object is in that phase and has seen its spec; return it."""
        return self.wait(kind, name, lambda found: _in_phase(found, phase), timeout_s=timeout_s)

    def wait(
        self, kind: str, name: str, missing: Callable[[dict[str, Any]], str], *, timeout_s: float = _ACTIVE_TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait until `missing(object)` has nothing to say; return the object."""

        def probe() -> dict[str, Any]:
            with passing(FailureError):
                found = self.get(kind, name)
            if found is None:
                raise NotYet("it does not exist")
            if lack := missing(found):
                raise NotYet(lack)
            return found

        return wait_for(probe, what=f"{kind} {self.name}/{name}", timeout_s=timeout_s)

    def wait_gone(self, kind: str, name: str) -> None:
        """Wait until an object is gone whose deletion was asked for."""

        def probe() -> None:
            if (found := self.get(kind, name)) is not None:
                raise NotYet(f"it is still there, its conditions are {json.dumps(conditions(found))}")

        wait_for(probe, what=f"no {kind} {self.name}/{name}", timeout_s=_GONE_TIMEOUT_S)

    def destroy(self) -> None:
        """Delete the Project with all that is in it, and wait until it is gone."""
        self.cluster.kubectl("delete", "project", self.name, "--ignore-not-found", f"--timeout={2 * _GONE_TIMEOUT_S}s")

    def _project_ready(self) -> None:
        phase = self.cluster.kubectl("get", "project", self.name, "--output=jsonpath={.status.phase}")
        if phase != "Active":
            raise NotYet(f"its phase is {phase or 'not set'}")


def conditions(document: Manifest) -> dict[str, dict[str, Any]]:
    """Return an object's conditions by type."""
    return {condition["type"]: condition for condition in document.get("status", {}).get("conditions", [])}


def reason_is(expected: str) -> Callable[[dict[str, Any]], str]:
    """Return what an object lacks that says Ready, or why not, by that reason: for `Tenant.wait`."""

    def missing(found: dict[str, Any]) -> str:
        ready = conditions(found).get("Ready", {})
        return "" if ready.get("reason") == expected else f"it says {ready}"

    return missing


def _in_phase(found: dict[str, Any], phase: str) -> str:
    status = found.get("status", {})
    if status.get("phase") == phase and status.get("observedGeneration") == found["metadata"]["generation"]:
        return ""
    return f"its phase is {status.get('phase')}, its conditions are {json.dumps(status.get('conditions', []))}"
