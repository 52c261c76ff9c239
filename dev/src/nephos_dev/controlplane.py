"""The command lines of etcd, API server and controller manager."""

from pathlib import Path

from nephos_dev.layout import Layout
from nephos_dev.supervision import Program

# Agents are no kubelets: nobody renews the Leases of these Nodes, and nothing may follow from that.
_CONTROLLERS = "*,-node-lifecycle-controller,-taint-eviction-controller"
_TOKEN_LIFETIME = "8760h"  # noqa: S105  # why: a duration; a local cloud's tokens are not rotated by a kubelet
SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"


def programs(layout: Layout, binaries: Path) -> tuple[Program, ...]:
    """Return the control plane's programs in the order in which they start."""
    return (_etcd(layout, binaries), _apiserver(layout, binaries), _controller_manager(layout, binaries))


def _etcd(layout: Layout, binaries: Path) -> Program:
    client = f"http://127.0.0.1:{layout.ports.etcd}"
    peer = f"http://127.0.0.1:{layout.ports.etcd_peer}"
    return Program(
        name="etcd",
        command=(
            str(binaries / "etcd"),
            "--name=local",
            f"--data-dir={layout.etcd_data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=local={peer}",
            "--unsafe-no-fsync",  # a machine's crash may cost a local cloud, never more
            "--log-level=warn",
        ),
        log=layout.logs / "etcd.log",
    )


def _apiserver(layout: Layout, binaries: Path) -> Program:
    pki = layout.kubernetes_pki
    return Program(
        name="kube-apiserver",
        command=(
            str(binaries / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{layout.ports.etcd}",
            f"--bind-address={layout.gateway}",
            f"--advertise-address={layout.gateway}",
            f"--secure-port={layout.ports.apiserver}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            f"--service-account-key-file={pki / 'service-accounts.key'}",
            f"--service-account-max-token-expiration={_TOKEN_LIFETIME}",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ),
        log=layout.logs / "kube-apiserver.log",
    )


def _controller_manager(layout: Layout, binaries: Path) -> Program:
    pki = layout.kubernetes_pki
    kubeconfig = layout.kubeconfigs / "kube-controller-manager"
    return Program(
        name="kube-controller-manager",
        command=(
            str(binaries / "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--authentication-skip-lookup=true",
            "--bind-address=127.0.0.1",
            f"--secure-port={layout.ports.controller_manager}",
            f"--cert-dir={layout.state / 'kube-controller-manager'}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",  # each controller with its own rights: namespaces, garbage
            f"--controllers={_CONTROLLERS}",
            f"--service-account-private-key-file={pki / 'service-accounts.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--profiling=false",
        ),
        log=layout.logs / "kube-controller-manager.log",
    )
