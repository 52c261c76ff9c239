"""An agent, whose token is bound to its Node, writes what belongs to its own host and nothing else."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from nephos_api.errors import Refused
from nephos_api.kube.client import KubernetesClient, connect
from nephos_api.kube.lease import HostLease
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Host, Server
from nephos_dev import credentials
from nephos_dev.cloud import Cloud

from .conftest import AGENT, OPERATOR, Api, manifest

LEASES = "/apis/coordination.k8s.io/v1/namespaces/nephos-system/leases"


@pytest.fixture(scope="module")
def kubeconfig(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cloud.cluster.apply_objects({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "h1"}})
    token = cloud.cluster.request_token("nephos-system", "nephos-agent", node="h1")
    path = tmp_path_factory.mktemp("agent") / "kubeconfig"
    credentials.write_token_kubeconfig(cloud.layout, path, user="h1", token=token)
    return path


@pytest.fixture
async def agent(kubeconfig: Path) -> AsyncIterator[KubernetesClient]:
    async with connect(kubeconfig) as client:
        yield client


@pytest.fixture
def server(api: Api) -> Iterator[dict[str, Any]]:
    """A Server that the operator placed on h1."""
    body = manifest("Server", {"flavor": "tiny", "image": "tiny"})
    api.create(body).accepted()
    status = {"host": "h1", "placementEpoch": 1, "phase": "Build", "addressList": "10.10.0.9"}
    api.patch(body, {"status": status}, sub="status", user=OPERATOR).accepted()
    yield body
    api.remove(body)


async def test_it_registers_its_host_and_renews_its_lease(agent: KubernetesClient) -> None:
    host = await agent.apply(Host, {"metadata": {"name": "h1"}, "spec": {}}, FieldManager.AGENT)
    await agent.apply_status(host, {"address": "192.0.2.1"}, FieldManager.AGENT)
    lease = HostLease(agent, "h1")
    await lease.renew()
    await lease.renew()
    assert lease.age_s is not None
    await agent.apply(Host, {"metadata": {"name": "h1"}, "spec": {}}, FieldManager.AGENT)


async def test_it_writes_the_status_of_a_server_on_its_host(agent: KubernetesClient, server: dict[str, Any]) -> None:
    placed = await agent.get(Server, server["metadata"]["name"], "first")
    assert placed is not None
    active = await agent.apply_status(placed, {"phase": "Active"}, FieldManager.AGENT, guard=True)
    assert (active.status.phase, active.status.host) == ("Active", "h1")


@pytest.mark.parametrize(
    "status",
    [
        {"host": "h2"},
        {"placementEpoch": 2},
        {"addressList": "10.10.0.10"},
        {"floatingIPList": "203.0.113.10"},
        {"addresses": [{"name": "net0", "network": "blue", "address": "10.10.0.9", "mac": "52:54:00:00:00:01"}]},
        {"flavor": {"name": "huge", "vcpus": 64, "memoryMiB": 1, "diskGiB": 1}},
        {"keyPairs": [{"name": "mine", "publicKey": "ssh-ed25519 AAAA"}]},
    ],
    ids=lambda status: next(iter(status)),
)
async def test_it_can_not_change_what_the_operator_decided(
    agent: KubernetesClient, server: dict[str, Any], status: dict[str, Any]
) -> None:
    placed = await agent.get(Server, server["metadata"]["name"], "first")
    assert placed is not None
    with pytest.raises(Refused, match="are the operator's") as refusal:
        await agent.apply_status(placed, status, FieldManager.AGENT)
    assert refusal.value.code == 403


class TestOfAnotherHost:
    """The agent of h2, by impersonation."""

    def test_the_status_of_a_server_is_refused(self, api: Api, server: dict[str, Any]) -> None:
        change = {"status": {"phase": "Active"}}
        answer = api.patch(server, change, sub="status", user=AGENT, node="h2")
        answer.refused("the agent of h2 may write the status of what is placed there only")

    def test_the_status_of_an_unplaced_server_is_refused(self, api: Api) -> None:
        body = manifest("Server", {"flavor": "tiny", "image": "tiny"})
        api.create(body).accepted()
        for status in ({"phase": "Active"}, {"host": "h2"}):
            api.patch(body, {"status": status}, sub="status", user=AGENT, node="h2").refused("placed there only")
        api.remove(body)

    def test_the_status_of_a_port_is_refused_unless_bound_there(self, api: Api) -> None:
        body = manifest("Port", {"network": "blue", "host": "h1"})
        api.create(body, user=OPERATOR).accepted()
        change = {"status": {"phase": "Active"}}
        api.patch(body, change, sub="status", user=AGENT, node="h2").refused("Ports bound there only")
        api.patch(body, change, sub="status", user=AGENT, node="h1").accepted()
        api.remove(body)

    def test_the_status_of_an_action_is_refused_unless_assigned_there(self, api: Api) -> None:
        body = manifest("ServerAction", {"server": "one", "action": "Start"})
        api.create(body).accepted()
        assigned = {"status": {"host": "h1", "serverUID": "u1", "phase": "Pending"}}
        api.patch(body, assigned, sub="status", user=OPERATOR).accepted()
        change = {"status": {"phase": "Running"}}
        api.patch(body, change, sub="status", user=AGENT, node="h2").refused("placed there only")
        api.patch(body, change, sub="status", user=AGENT, node="h1").accepted()
        moved = {"status": {"serverUID": "u2"}}
        api.patch(body, moved, sub="status", user=AGENT, node="h1").refused("are the operator's")
        api.delete(body)

    def test_the_status_of_a_floating_ip_is_refused_unless_it_answers_there(self, api: Api) -> None:
        body = manifest("FloatingIP", {"externalNetwork": "public"})
        api.create(body).accepted()
        bound = {"status": {"host": "h1", "address": "203.0.113.9", "fixedAddress": "10.10.0.9", "phase": "Down"}}
        api.patch(body, bound, sub="status", user=OPERATOR).accepted()
        change = {"status": {"phase": "Active"}}
        api.patch(body, change, sub="status", user=AGENT, node="h2").refused("placed there only")
        api.patch(body, change, sub="status", user=AGENT, node="h1").accepted()
        others = {"host": "h2", "address": "203.0.113.10", "fixedAddress": "10.10.0.1", "observedGeneration": 7}
        for field, value in others.items():
            taken = {"status": {field: value}}
            api.patch(body, taken, sub="status", user=AGENT, node="h1").refused("is the operator's")
        older = {"status": {"observedGeneration": 1}}
        api.patch(body, older, sub="status", user=OPERATOR).accepted()
        without = {"status": {"observedGeneration": None}}
        api.patch(body, without, sub="status", user=AGENT, node="h1").accepted()
        api.remove(body)

    def test_host_and_lease_are_refused(self, api: Api) -> None:
        host = manifest("Host", {}, name="h3")
        api.create(host).accepted()
        change = {"status": {"address": "192.0.2.3"}}
        api.patch(host, change, sub="status", user=AGENT, node="h2").refused("the Host and the Lease of that name only")
        lease = {"metadata": {"name": "h3"}, "spec": {"holderIdentity": "h2"}}
        api.call("POST", LEASES, lease, user=AGENT, node="h2").refused("the Host and the Lease of that name only")
        api.delete(host)


def test_its_host_s_spec_and_labels_are_people_s(api: Api) -> None:
    host = manifest("Host", {}, name="h4")
    api.create(host, user=AGENT, node="h4").accepted()
    for change in ({"spec": {"enabled": False}}, {"metadata": {"labels": {"gpu": "yes"}}}):
        api.patch(host, change, user=AGENT, node="h4").refused("an agent may not change them")
    api.delete(host)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/apis/nephos.cloud/v1alpha1/hosts/h1"),
        ("GET", "/api/v1/namespaces/nephos-system/secrets"),
        ("GET", "/api/v1/pods"),
        ("DELETE", f"{LEASES}/h1"),
        ("GET", "/apis/nephos.cloud/v1alpha1/keypairs"),
    ],
)
def test_it_has_no_right_to_anything_else(api: Api, method: str, path: str) -> None:
    api.call(method, path, user=AGENT, node="h1").refused("forbidden")


@pytest.mark.parametrize(
    ("signer", "accepted"), [("nephos.cloud/host", True), ("kubernetes.io/kube-apiserver-client", False)]
)
def test_it_asks_for_certificates_of_hosts_only(api: Api, signer: str, accepted: bool) -> None:
    from base64 import b64encode
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "h1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    pem = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    body = {
        "metadata": {"name": f"h1-{datetime.now(UTC).timestamp()}"},
        "spec": {"request": b64encode(pem).decode(), "signerName": signer, "usages": ["client auth"]},
    }
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    answer = api.call("POST", path, body, user=AGENT, node="h1", dryRun="All")
    if accepted:
        answer.accepted()
    else:
        answer.refused("nephos.cloud/host only")
