"""Waits until API, hypervisors, kernels and disks of a cloud are in agreement: what every test of one ends with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from nephos_agent.audit import audit
from nephos_agent.network.desired import HostContext
from nephos_agent.path.model import Objects
from nephos_agent.path.report import load
from nephos_api.metadata import Resource
from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup
from nephos_dev.cloud import Cloud
from nephos_dev.invariants import CloudPicture, violations
from nephos_dev.layout import HostLayout
from nephos_dev.observe import NAMING, observe
from nephos_dev.progress import FailureError
from nephos_dev.waiting import NotYet, passing, wait_for

R = TypeVar("R", bound=Resource)
_SOCKET: Final = "/run/nephos/report.sock"
_RUN_DIR: Final = "/run/nephos/network"
_MOST_TOLD: Final = 20


def wait_sound(cloud: Cloud, *, timeout_s: float = 60) -> None:
    """Wait until nothing is lost, twice or orphaned, and each kernel has what the objects demand, fact by fact.

    Raises FailureError with what still is at the deadline.
    """

    def probe() -> None:
        with passing(FailureError, FileNotFoundError):  # a folder may go while it is read
            picture = observe(cloud)
            found = [*violations(picture, NAMING), *_differences(cloud, picture)]
        if found:
            more = [f"and {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else []
            raise NotYet("; ".join((*found[:_MOST_TOLD], *more)))

    wait_for(probe, what="API, hypervisors, kernel and disks in agreement", timeout_s=timeout_s)


def report(cloud: Cloud, host: HostLayout) -> str:
    """Return what the host's kernel has, as its agent reads it now. Raises FailureError while it does not answer."""
    done = cloud.execute(host, "curl", "-sf", "--unix-socket", _SOCKET, "http://agent/network")
    if done.returncode:
        raise FailureError(f"{host.name}: no report: {done.stderr.strip()}")
    return done.stdout


def _differences(cloud: Cloud, picture: CloudPicture) -> Iterator[str]:
    objects = Objects(
        networks=_models(Network, picture.networks),
        ports=_models(Port, picture.ports),
        routers=_models(Router, picture.routers),
        floating_ips=_models(FloatingIP, picture.floatingips),
        security_groups=_models(SecurityGroup, picture.securitygroups),
    )
    for host in cloud.hosts:
        yield from audit(
            objects, load(report(cloud, host)), HostContext(host.name, str(host.address), "nephos", _RUN_DIR)
        )


def _models(kind: type[R], documents: Iterable[dict[str, Any]]) -> tuple[R, ...]:
    return tuple(kind.model_validate(document) for document in documents)
